//! Runs a task over the keys of a walk: so many at once, and with a mark behind which everything is done.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::super::Error;
use super::super::call::Service;
use super::walk::{Item, Walk};
use super::{Failed, Outcome, Task};

/// How often an object is tried where another try may help.
pub const TRIES: u32 = 4;
/// The pause before the second try; each further one is twice as long.
pub const PAUSE: Duration = Duration::from_millis(500);

/// How a job runs.
pub struct Limits {
    /// Objects at once, at least 1.
    pub at_once: usize,
    /// Ends the job: what has begun is finished, and nothing more is begun.
    pub stop: CancellationToken,
}

/// Something that whoever started the job may want to show or to note.
pub enum Event<'a> {
    /// An object is done with, one way or the other.
    Ended {
        /// The object.
        item: &'a Item,
        /// What became of it.
        result: &'a Result<Outcome, Failed>,
    },
    /// Everything up to this key, and the key itself, needs nothing more. A job that is begun again may begin behind it.
    Safe(&'a str),
}

/// What has begun, in the order of its keys, to know up to where all is done. An object that failed holds the mark for good.
#[derive(Default)]
struct Mark {
    /// Number of the first of `ended`.
    first: u64,
    ended: VecDeque<Option<String>>,
    held: bool,
}

impl Mark {
    fn begin(&mut self) {
        if !self.held {
            self.ended.push_back(None);
        }
    }

    /// An object has ended; gives the mark where it moved.
    fn end(&mut self, number: u64, key: &str, well: bool) -> Option<String> {
        if let Some(index) = number
            .checked_sub(self.first)
            .and_then(|index| usize::try_from(index).ok())
        {
            if !well {
                // What began before it may still move the mark up to it.
                self.held = true;
                self.ended.truncate(index);
            } else if let Some(slot) = self.ended.get_mut(index) {
                *slot = Some(key.to_owned());
            }
        }
        let mut last = None;
        while let Some(Some(_)) = self.ended.front() {
            last = self.ended.pop_front().flatten();
            self.first += 1;
        }
        last
    }
}

/// Runs `task` over the walk. Says whether it came to the end, rather than being stopped before.
///
/// # Errors
/// Only where keys cannot be listed: an object that fails is an event, and the job goes on.
pub async fn run<T: Task>(
    service: &Service,
    mut walk: Walk,
    task: Arc<T>,
    limits: Limits,
    mut observe: impl FnMut(Event<'_>),
) -> Result<bool, Error> {
    let mut mark = Mark::default();
    let mut running: JoinSet<(u64, Item, Result<Outcome, Failed>)> = JoinSet::new();
    let mut number = 0;
    let mut ended = |mark: &mut Mark, (number, item, result): (u64, Item, Result<_, _>)| {
        observe(Event::Ended {
            item: &item,
            result: &result,
        });
        if let Some(key) = mark.end(number, &item.key, result.is_ok()) {
            observe(Event::Safe(&key));
        }
    };
    let mut waiting = VecDeque::new();
    let mut complete = true;
    loop {
        if limits.stop.is_cancelled() {
            complete = false;
            break;
        }
        if waiting.is_empty() {
            match walk.page(service).await? {
                Some(items) => waiting = items.into(),
                None => break,
            }
            continue;
        }
        if running.len() < limits.at_once.max(1)
            && let Some(item) = waiting.pop_front()
        {
            mark.begin();
            let (task, at) = (task.clone(), number);
            number += 1;
            running.spawn(async move {
                let result = patiently(&*task, &item).await;
                (at, item, result)
            });
            continue;
        }
        if let Some(one) = running.join_next().await {
            ended(&mut mark, joined(one)?);
        }
    }
    while let Some(one) = running.join_next().await {
        ended(&mut mark, joined(one)?);
    }
    Ok(complete)
}

fn joined<T>(one: Result<T, tokio::task::JoinError>) -> Result<T, Error> {
    one.map_err(|_| Error::Internal("a step of the job did not end"))
}

/// Tries a step again where that may help.
async fn patiently<T: Task>(task: &T, item: &Item) -> Result<Outcome, Failed> {
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match task.step(item).await {
            Err(failed) if failed.passing => {
                tracing::debug!(key = item.key, %failed, "trying again");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            result => return result,
        }
    }
    task.step(item).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_follows_what_is_done_from_the_start() {
        let mut mark = Mark::default();
        (0..5).for_each(|_| mark.begin());
        assert_eq!(mark.end(1, "b", true), None);
        assert_eq!(mark.end(0, "a", true), Some("b".into()));
        assert_eq!(mark.end(3, "d", true), None);
        assert_eq!(mark.end(2, "c", true), Some("d".into()));
        assert_eq!(mark.end(4, "e", true), Some("e".into()));
    }

    #[test]
    fn a_failure_holds_the_mark_and_takes_no_room() {
        let mut mark = Mark::default();
        (0..6).for_each(|_| mark.begin());
        assert_eq!(mark.end(4, "e", false), None);
        assert_eq!(mark.end(2, "c", false), None);
        assert_eq!(mark.end(3, "d", true), None);
        assert_eq!(mark.end(1, "b", true), None);
        assert_eq!(mark.end(0, "a", true), Some("b".into()));
        for number in 6..100 {
            mark.begin();
            assert_eq!(mark.end(number, "z", true), None);
        }
        assert!(mark.ended.is_empty());
    }
}
