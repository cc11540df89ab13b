//! Who may do what: users, their rules, and the permit that an operation takes.
//!
//! ```text
//! access key ─ Policy::user ─▶ UserHandle ─┐
//!                                          ├─ Policy::permit ─▶ Permit ─▶ the operation
//! request ─ the router ─────▶ [Need, …] ───┘                └─▶ Denied
//! ```
//!
//! A [`Permit`] can only come from [`Policy::permit`], and what runs after it takes nothing else:
//! forgetting to authorise does not compile.

mod action;
mod glob;
mod need;
mod permit;
mod user;

pub use crate::secret::Secret;
pub use action::{Action, Actions, UnknownAction};
pub use glob::{Pattern, PatternError};
pub use need::{Need, Target};
pub use permit::{Denied, Permit, Policy, PolicyError};
pub use user::{Rule, StoreCredentials, User, UserHandle};

#[cfg(test)]
mod tests;
