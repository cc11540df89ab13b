//! The rules of buckets for browsers of other origins: those of the gateway's configuration, else those that the store
//! keeps for the bucket.
//!
//! Preflights are not authenticated, so they must cost the store little: what it said is kept for a while, also that there
//! are no rules; requests about one bucket share one question; few are asked at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt;
use tokio::sync::{OnceCell, Semaphore};

use super::route::{Endpoint, Kind};
use super::{Error, xml};
use crate::protocol::cors::{self, Glob, MAX_ITEMS, MAX_RULES, Rule};
use crate::protocol::xml::{Malformed, walk};
use crate::store::{Request, Store, StoreError};

/// How long the store's answer is good.
const KEPT: Duration = Duration::from_secs(30);
/// How long it is taken for a bucket without rules after the store did not answer.
const KEPT_FAILURE: Duration = Duration::from_secs(2);
/// How long the store is waited for, other questions included.
const PATIENCE: Duration = Duration::from_secs(5);
/// Buckets that are remembered.
const MAX_BUCKETS: usize = 1024;
/// Questions to the store at the same time.
const MAX_QUESTIONS: usize = 4;
/// Longest configuration (S3: 64 KB).
const MAX_DOCUMENT: usize = 64 * 1024;

/// The rules that the gateway's configuration has for a bucket; they replace the store's.
pub type Configured = dyn Fn(&str) -> Option<Arc<[Rule]>> + Send + Sync;

/// The rules of all buckets.
pub struct CorsRules {
    configured: Box<Configured>,
    store: Store,
    known: Mutex<HashMap<String, Arc<Known>>>,
    questions: Semaphore,
}

/// What is known of one bucket.
struct Known {
    asked: Instant,
    answer: OnceCell<Answer>,
}

struct Answer {
    rules: Arc<[Rule]>,
    until: Instant,
}

impl CorsRules {
    /// Asks `store` with the gateway's own credentials.
    pub fn new(configured: Box<Configured>, store: Store) -> Self {
        Self {
            configured,
            store,
            known: Mutex::default(),
            questions: Semaphore::new(MAX_QUESTIONS),
        }
    }

    /// The rules of a bucket; none where it has none, is not there, or the store does not say.
    pub async fn of(&self, bucket: &str) -> Arc<[Rule]> {
        if let Some(rules) = (self.configured)(bucket) {
            return rules;
        }
        let known = self.known(bucket);
        let answer = known.answer.get_or_init(|| self.ask(bucket)).await;
        answer.rules.clone()
    }

    /// Forgets what is known of a bucket. A question under way is answered to those who wait for it, and not kept.
    pub fn forget(&self, bucket: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(bucket);
    }

    /// What is known of a bucket, or a place for it.
    fn known(&self, bucket: &str) -> Arc<Known> {
        let now = Instant::now();
        let good = |known: &Known| known.answer.get().is_none_or(|answer| now < answer.until);
        let mut table = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = table.get(bucket).filter(|known| good(known)) {
            return known.clone();
        }
        if table.len() >= MAX_BUCKETS {
            table.retain(|_, known| good(known));
        }
        if table.len() >= MAX_BUCKETS {
            let oldest = table.iter().min_by_key(|(_, known)| known.asked);
            if let Some(oldest) = oldest.map(|(bucket, _)| bucket.clone()) {
                table.remove(&oldest);
            }
        }
        let known = Arc::new(Known {
            asked: now,
            answer: OnceCell::new(),
        });
        table.insert(bucket.to_owned(), known.clone());
        known
    }

    /// Asks the store.
    async fn ask(&self, bucket: &str) -> Answer {
        let answer = tokio::time::timeout(PATIENCE, self.fetch(bucket)).await;
        let (rules, kept) = match answer {
            Ok(Ok(rules)) => (rules, KEPT),
            Ok(Err(error)) => {
                tracing::warn!(bucket, %error, "CORS configuration cannot be used");
                (Vec::new(), KEPT_FAILURE)
            }
            Err(_) => {
                tracing::warn!(bucket, "CORS configuration was not answered in time");
                (Vec::new(), KEPT_FAILURE)
            }
        };
        Answer {
            rules: rules.into(),
            until: Instant::now() + kept,
        }
    }

    async fn fetch(&self, bucket: &str) -> Result<Vec<Rule>, Error> {
        // Never closed.
        let _turn = self.questions.acquire().await.ok();
        let request = Request::bucket(Method::GET, bucket).query("cors", "");
        match self.store.send("GetBucketCors", request).await {
            Ok(answer) => {
                let body = self.store.stream(answer).boxed();
                parse(&xml::read_document(body, MAX_DOCUMENT).await?)
            }
            // No configuration, no such bucket, or a store that has no such thing.
            Err(StoreError::Status { status, .. })
                if status.is_client_error() || status.as_u16() == 501 =>
            {
                Ok(Vec::new())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether an operation may change what is known of its bucket.
pub fn changes_cors(endpoint: &Endpoint, method: &Method) -> bool {
    *method != Method::GET
        && matches!(
            endpoint.kind,
            Kind::BucketSetting("cors") | Kind::CreateBucket | Kind::DeleteBucket
        )
}

/// Parses a `CORSConfiguration`. An element that is not known could mean that a rule grants less, so it is an error.
fn parse(document: &[u8]) -> Result<Vec<Rule>, Error> {
    let mut rules = Vec::new();
    let mut rule = Rule::default();
    walk(document, |element| {
        let text = || Ok(element.text()?.trim().to_owned());
        let wrong = |_| Malformed;
        let bounded = |count: usize| {
            if count < MAX_ITEMS {
                Ok(())
            } else {
                Err(Malformed)
            }
        };
        match element.path {
            ["CORSConfiguration", "CORSRule", name] => match *name {
                "AllowedOrigin" => {
                    bounded(rule.origins.len())?;
                    rule.origins.push(Glob::origin(&text()?).map_err(wrong)?);
                }
                "AllowedMethod" => {
                    bounded(rule.methods.len())?;
                    rule.methods.push(cors::method(&text()?).map_err(wrong)?);
                }
                "AllowedHeader" => {
                    bounded(rule.headers.len())?;
                    rule.headers.push(Glob::header(&text()?).map_err(wrong)?);
                }
                "ExposeHeader" => {
                    bounded(rule.expose.len())?;
                    rule.expose.push(cors::exposed(&text()?).map_err(wrong)?);
                }
                "MaxAgeSeconds" => rule.max_age = Some(text()?.parse().map_err(|_| Malformed)?),
                "ID" => {}
                _ => return Err(Malformed),
            },
            ["CORSConfiguration", "CORSRule"] => {
                if rules.len() == MAX_RULES {
                    return Err(Malformed);
                }
                rules.push(std::mem::take(&mut rule));
            }
            ["CORSConfiguration"] => {}
            _ => return Err(Malformed),
        }
        Ok(())
    })?;
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_documentation_is_read() {
        let rules = parse(b"<?xml version=\"1.0\"?><CORSConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">
            <CORSRule><ID>one</ID><AllowedOrigin>http://www.example.com</AllowedOrigin><AllowedMethod>PUT</AllowedMethod>
            <AllowedMethod>POST</AllowedMethod><AllowedHeader>*</AllowedHeader><MaxAgeSeconds>3000</MaxAgeSeconds>
            <ExposeHeader>x-amz-request-id</ExposeHeader></CORSRule>
            <CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>").unwrap();
        assert_eq!(rules.len(), 2);
        assert_eq!(rules[0].methods, [Method::PUT, Method::POST]);
        assert_eq!(rules[0].headers, [Glob::header("*").unwrap()]);
        assert_eq!(rules[0].max_age, Some(3000));
        assert_eq!(
            rules[1],
            Rule {
                origins: vec![Glob::origin("*").unwrap()],
                methods: vec![Method::GET],
                ..Rule::default()
            }
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let rule = |inner: &str| {
            format!("<CORSConfiguration><CORSRule>{inner}</CORSRule></CORSConfiguration>")
        };
        let many = format!(
            "<CORSConfiguration>{}</CORSConfiguration>",
            "<CORSRule/>".repeat(MAX_RULES + 1)
        );
        for document in [
            "",
            "<CORSConfiguration>",
            "<Other/>",
            &rule("<AllowedOrigin>*.*</AllowedOrigin>"),
            &rule("<AllowedOrigin></AllowedOrigin>"),
            &rule("<AllowedMethod>PATCH</AllowedMethod>"),
            &rule("<AllowedHeader>a b</AllowedHeader>"),
            &rule("<MaxAgeSeconds>-1</MaxAgeSeconds>"),
            &rule("<OnlyOnSundays>true</OnlyOnSundays>"),
            &rule("<AllowedOrigin><b>a</b></AllowedOrigin>"),
            &many,
            &rule(&"<AllowedOrigin>*</AllowedOrigin>".repeat(MAX_ITEMS + 1)),
        ] {
            assert!(parse(document.as_bytes()).is_err(), "{document:.80}");
        }
        assert!(parse(b"<CORSConfiguration/>").unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn any_document_is_refused_or_read(text in ".*", inner in "(<|>|/|AllowedOrigin|CORSRule|\\*|a|&amp;)*") {
            let _ = parse(text.as_bytes());
            let _ = parse(format!("<CORSConfiguration><CORSRule>{inner}</CORSRule></CORSConfiguration>").as_bytes());
        }
    }
}
