//! What only browsers send, and is not authenticated as other requests are: preflights, and uploads by forms, which bring
//! their signature in the body.
//!
//! ```text
//! preflight → CORS rules → answer
//! form → fields → auth::verify_form → policy::permit → policy of the form → s3::Service → answer
//! any request with Origin → its answer → CORS rules → headers added
//! ```

use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{Gateway, boxed, now, unauthenticated};
use crate::auth::{self, AuthError, Payload};
use crate::protocol::cors::{self, Asked, Rule};
use crate::protocol::uri::{Query, Target, percent_encode_into};
use crate::pump::{BodyError, IdleLimit};
use crate::s3::{self, Call, Endpoint, Kind, Response};
use crate::wire::{ClientBody, Outcome, Told};

/// A request from another origin.
pub(super) struct Origin {
    asked: Asked,
    bucket: String,
}

impl Gateway {
    /// What a request is about, where it is one of those that are answered here.
    pub(super) fn browser_target(&self, request: &Request<Incoming>) -> Option<Target> {
        let target = || self.target(request.uri().path(), request.headers()).ok();
        if *request.method() == Method::OPTIONS {
            return target();
        }
        // Most requests are not even compared further.
        if *request.method() != Method::POST {
            return None;
        }
        let query = Query::parse(request.uri().query().unwrap_or_default()).ok()?;
        if !s3::is_upload(request.method(), &query, request.headers()) {
            return None;
        }
        target().filter(|target| matches!(target, Target::Bucket { .. }))
    }

    /// Answers it.
    pub(super) async fn answer_browser(
        &self,
        request: Request<Incoming>,
        target: Target,
        outcome: &mut Outcome,
    ) -> Result<Response, Box<Told>> {
        target
            .bucket()
            .unwrap_or_default()
            .clone_into(&mut outcome.bucket);
        target
            .key()
            .unwrap_or_default()
            .clone_into(&mut outcome.key);
        if *request.method() == Method::OPTIONS {
            outcome.operation = "Preflight";
            return self.preflight(&target, request.headers()).await;
        }
        outcome.operation = Kind::PostObject.name();
        // On the heap, as the operations are.
        Box::pin(self.form(request, target, outcome)).await
    }

    fn target(&self, path: &str, headers: &HeaderMap) -> Result<Target, Box<Told>> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        Target::parse(path, host, &self.domains).map_err(boxed(Told::uri))
    }

    /// Says what a browser may send. Who asks is not known; a bucket that is not there is one without rules.
    async fn preflight(&self, target: &Target, headers: &HeaderMap) -> Result<Response, Box<Told>> {
        let asked = Asked::preflight(headers).map_err(boxed(Told::preflight))?;
        let rules = self.rules(target.bucket().unwrap_or_default()).await;
        let Some(mut answer) = asked.answer(&rules) else {
            let resource = match target {
                Target::Service => "SERVICE",
                Target::Bucket { .. } => "BUCKET",
                Target::Object { .. } => "OBJECT",
            };
            let told = Told::cross_origin(asked.method(), resource, !rules.is_empty());
            return Err(told.into());
        };
        answer.extend([cors::vary()]);
        Ok(Response::empty(StatusCode::OK, answer))
    }

    /// The rules of a bucket. Those that nobody may touch have none.
    async fn rules(&self, bucket: &str) -> Arc<[Rule]> {
        if bucket.is_empty() || self.policy.is_blocked(bucket) {
            return Arc::default();
        }
        self.cors.of(bucket).await
    }

    /// Where a request comes from, if that is another origin and the request no preflight.
    pub(super) fn origin(&self, request: &Request<Incoming>) -> Option<Origin> {
        if *request.method() == Method::OPTIONS {
            return None;
        }
        let asked = Asked::actual(request.method(), request.headers())?;
        let target = self.target(request.uri().path(), request.headers()).ok()?;
        Some(Origin {
            asked,
            bucket: target.bucket()?.to_owned(),
        })
    }

    /// Lets scripts of that origin see an answer, where a rule says so.
    pub(super) async fn share(&self, headers: &mut HeaderMap, origin: Origin) {
        let rules = self.rules(&origin.bucket).await;
        if !rules.is_empty() {
            headers.extend([cors::vary()]);
            headers.extend(origin.asked.answer(&rules).unwrap_or_default());
        }
    }

    /// Stores the file of a form.
    async fn form(
        &self,
        request: Request<Incoming>,
        target: Target,
        outcome: &mut Outcome,
    ) -> Result<Response, Box<Told>> {
        let (head, body) = request.into_parts();
        if head.headers.contains_key(AUTHORIZATION) {
            return Err(unauthenticated(&AuthError::SeveralMechanisms, outcome));
        }
        let length = content_length(&head.headers)
            .ok_or_else(|| self.told(s3::Error::MissingContentLength, &mut outcome.notes))?;
        let raw = ClientBody::new(body, outcome.bytes_in());
        let raw = IdleLimit::new(raw, self.body_idle, || BodyError::ClientStalled).boxed();
        // Nobody has signed yet, so all of the fields have the time that each piece has later.
        let form = s3::Form::read(raw, &head.headers, length);
        let form = tokio::time::timeout(self.body_idle, form)
            .await
            .unwrap_or_else(|_| Err(BodyError::ClientStalled.into()))
            .map_err(|error| self.told(error, &mut outcome.notes))?;

        let limits = &self.limits;
        let signed = auth::verify_form(form.fields(), |key| self.secret(key), now(), limits)
            .map_err(|error| unauthenticated(&error, outcome))?;
        let user = self.user(signed.access_key(), outcome)?;
        let key = form
            .key()
            .map_err(|error| self.told(error, &mut outcome.notes))?;
        key.clone_into(&mut outcome.key);
        let endpoint = Endpoint {
            kind: Kind::PostObject,
            bucket: target.bucket().unwrap_or_default().to_owned(),
            key,
        };
        let query = Query::default();
        let needs = s3::needs(&endpoint, &head.method, &query, &HeaderMap::new());
        let permit = self
            .policy
            .permit(&user, needs)
            .map_err(|denied| self.told(denied.into(), &mut outcome.notes))?;

        let upload = form
            .file(&endpoint.bucket, now())
            .await
            .map_err(|error| self.told(error, &mut outcome.notes))?;
        let (headers, length) = (upload.headers, Some(upload.length));
        let body = self.body(upload.file, &headers, Payload::Unsigned, length, &endpoint)?;
        let location = self.location(&head.uri, &head.headers, &endpoint.key);
        let (bucket, key) = (endpoint.bucket.clone(), endpoint.key.clone());
        let call = Call {
            permit,
            endpoint,
            method: head.method,
            query,
            headers,
            body,
            store: self.store_for(&user),
        };
        let put = self.service.call(call).await;
        let put = put.map_err(|error| self.told(error, &mut outcome.notes))?;
        Ok(upload.success.answer(put, &bucket, &key, &location))
    }

    /// The URL of an object of the bucket that was posted to.
    fn location(&self, uri: &http::Uri, headers: &HeaderMap, key: &str) -> String {
        let mut url = match headers.get(HOST).and_then(|host| host.to_str().ok()) {
            Some(host) => format!("{}://{host}", self.scheme),
            None => String::new(),
        };
        url.push_str(uri.path().trim_end_matches('/'));
        url.push('/');
        percent_encode_into(&mut url, key.as_bytes(), true);
        url
    }
}

/// The length of the whole form, which the length of the file follows from.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
