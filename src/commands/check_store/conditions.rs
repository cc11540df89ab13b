//! Conditions, which the gateway passes on so that the store's own atomicity holds.
//!
//! Each is asked twice: that it refuses what it must, and that it lets through what it must.

use http::{Method, StatusCode};

use super::brief;
use super::objects::unquoted;
use super::place::{Object, Place};
use super::report::Seen;
use crate::store::StoreError;

/// An ETag that no object has.
const OTHER: &str = "\"00000000000000000000000000000000\"";

/// What came of a request under a condition.
enum Outcome {
    Done,
    Refused,
    /// Refused, but not for the condition.
    Odd(String),
}

fn outcome<T>(answer: Result<T, StoreError>) -> Outcome {
    match answer {
        Ok(_) => Outcome::Done,
        Err(error) if error.is_condition() => Outcome::Refused,
        Err(error) => Outcome::Odd(brief(&error)),
    }
}

/// The verdict on a request that must be refused.
fn must_be_refused(outcome: Outcome, ignored: &str) -> Option<Seen> {
    match outcome {
        Outcome::Refused => None,
        Outcome::Done => Some(Seen::no(ignored)),
        Outcome::Odd(answer) => Some(Seen::no(format!("answered {answer}"))),
    }
}

/// The verdict on a request that must succeed.
fn must_be_done(outcome: Outcome, refused: &str) -> Option<Seen> {
    match outcome {
        Outcome::Done => None,
        Outcome::Refused => Some(Seen::no(refused)),
        Outcome::Odd(answer) => Some(Seen::no(format!("answered {answer}"))),
    }
}

/// Whether an object still has this body.
async fn still(place: &Place, name: &str, body: &[u8]) -> Result<bool, StoreError> {
    Ok(place.get(name).await?.body.as_ref() == body)
}

pub async fn get(place: &Place) -> Result<Seen, StoreError> {
    let etag = place.put("if", b"one").await?;
    let ask = async |name, value: &str| {
        place
            .ask(place.request(Method::GET, "if").header(name, value))
            .await
    };
    if let Some(seen) = must_be_done(
        outcome(ask("if-match", &etag).await),
        "the right ETag is refused",
    ) {
        return Ok(seen);
    }
    if let Some(seen) =
        must_be_refused(outcome(ask("if-match", OTHER).await), "If-Match is ignored")
    {
        return Ok(seen);
    }
    match ask("if-none-match", &etag).await {
        Ok(Object {
            status: StatusCode::NOT_MODIFIED,
            ..
        }) => Ok(Seen::yes()),
        Ok(_) => Ok(Seen::no("If-None-Match is ignored")),
        Err(error) => Ok(Seen::no(format!("answered {}", brief(&error)))),
    }
}

pub async fn put_if_none_match(place: &Place) -> Result<Seen, StoreError> {
    let condition = [("if-none-match", "*")];
    let first = outcome(place.put_with("once", b"one", &condition).await);
    if let Some(seen) = must_be_done(first, "it refuses where nothing is") {
        return Ok(seen);
    }
    let second = outcome(place.put_with("once", b"two", &condition).await);
    if let Some(seen) = must_be_refused(second, "the condition is ignored") {
        return Ok(seen);
    }
    if still(place, "once", b"one").await? {
        Ok(Seen::yes())
    } else {
        Ok(Seen::no("refused, but the object was replaced"))
    }
}

pub async fn put_if_match(place: &Place) -> Result<Seen, StoreError> {
    let etag = place.put("swap", b"one").await?;
    let wrong = outcome(place.put_with("swap", b"two", &[("if-match", OTHER)]).await);
    if let Some(seen) = must_be_refused(wrong, "the condition is ignored") {
        return Ok(seen);
    }
    if !still(place, "swap", b"one").await? {
        return Ok(Seen::no("refused, but the object was replaced"));
    }
    let swap = async |value: &str| {
        let condition = [("if-match", value)];
        outcome(place.put_with("swap", b"three", &condition).await)
    };
    if let Some(seen) = must_be_done(swap(&etag).await, "the right ETag is refused") {
        // Ceph 16 compares the header as it stands with the bare ETag.
        return Ok(match swap(unquoted(&etag)).await {
            Outcome::Done => Seen::no("the right ETag is refused, unless it has no quotes"),
            _ => seen,
        });
    }
    if still(place, "swap", b"three").await? {
        Ok(Seen::yes())
    } else {
        Ok(Seen::no("answered success, and did not write"))
    }
}

pub async fn delete(place: &Place) -> Result<Seen, StoreError> {
    let etag = place.put("delete", b"one").await?;
    let ask = async |value: &str| {
        let request = place
            .request(Method::DELETE, "delete")
            .header("if-match", value);
        outcome(place.ask(request).await)
    };
    let wrong = ask(OTHER).await;
    if !place.exists("delete").await? {
        return Ok(Seen::no("the condition is ignored"));
    }
    if let Some(seen) = must_be_refused(wrong, "answered success, and did not delete") {
        return Ok(seen);
    }
    if let Some(seen) = must_be_done(ask(&etag).await, "the right ETag is refused") {
        return Ok(seen);
    }
    Ok(Seen::yes())
}

pub async fn copy_source(place: &Place) -> Result<Seen, StoreError> {
    let etag = place.put("source", b"one").await?;
    let ask = async |value: &str, to| {
        let headers = [("x-amz-copy-source-if-match", value)];
        outcome(place.copy("source", to, &headers).await)
    };
    if let Some(seen) = must_be_refused(ask(OTHER, "copied").await, "the condition is ignored") {
        return Ok(seen);
    }
    // The gateway copies objects onto themselves too.
    if let Some(seen) = must_be_refused(
        ask(OTHER, "source").await,
        "the condition is ignored in a copy onto itself",
    ) {
        return Ok(seen);
    }
    let right = must_be_done(ask(&etag, "copied").await, "the right ETag is refused");
    Ok(right.unwrap_or_else(Seen::yes))
}

pub async fn copy_target(place: &Place) -> Result<Seen, StoreError> {
    place.put("new", b"new").await?;
    place.put("taken", b"taken").await?;
    let condition = [("if-none-match", "*")];
    let taken = outcome(place.copy("new", "taken", &condition).await);
    if let Some(seen) = must_be_refused(taken, "the condition is ignored") {
        return Ok(seen);
    }
    let free = outcome(place.copy("new", "free", &condition).await);
    Ok(must_be_done(free, "it refuses where nothing is").unwrap_or_else(Seen::yes))
}
