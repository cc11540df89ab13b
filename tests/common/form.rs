//! A browser's upload form, signed as a server would that hands it out.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderName, HeaderValue, Method};
use sealgate::auth::canonical::hex;
use sealgate::auth::{Scope, Secret, SigningKey};
use sealgate::protocol::date::{format_amz_date, format_iso8601};
use serde_json::{Value, json};

use super::http1::{Ask, Form};
use super::{ALICE, User};

/// A form for an upload.
#[derive(Clone, Debug)]
pub struct PostForm {
    pub bucket: String,
    /// In order; `policy` and what signs it come on top.
    pub fields: Vec<(String, String)>,
    pub conditions: Vec<Value>,
    pub filename: String,
    pub file: Vec<u8>,
    /// Fields behind the file.
    pub after: Vec<(String, String)>,
    /// What stands at the end.
    pub ending: &'static str,
    pub boundary: &'static str,
    pub user: User,
    /// When it was signed, and how long it is good, in seconds from now.
    pub signed: i64,
    pub expires: i64,
    /// Not signed at all.
    pub anonymous: bool,
}

impl PostForm {
    /// A form of Alice's for one key, with conditions on bucket and key.
    pub fn new(bucket: &str, key: &str, file: &[u8]) -> Self {
        Self {
            bucket: bucket.to_owned(),
            fields: vec![("key".to_owned(), key.to_owned())],
            conditions: vec![
                json!({"bucket": bucket}),
                json!(["starts-with", "$key", ""]),
            ],
            filename: "file.txt".to_owned(),
            file: file.to_vec(),
            after: Vec::new(),
            ending: "--\r\n",
            boundary: "----WebKitFormBoundaryAbCdEf0123456789",
            user: ALICE,
            signed: 0,
            expires: 3600,
            anonymous: false,
        }
    }

    /// A field and a condition on it.
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.conditions
            .push(json!(["eq", format!("${name}"), value]));
        self.extra(name, value)
    }

    /// A field without a condition.
    pub fn extra(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn condition(mut self, condition: Value) -> Self {
        self.conditions.push(condition);
        self
    }

    pub fn by(mut self, user: User) -> Self {
        self.user = user;
        self
    }

    /// All fields before the file.
    pub fn signed_fields(&self) -> Vec<(String, String)> {
        let mut fields = self.fields.clone();
        if self.anonymous {
            return fields;
        }
        let now = sealgate::gateway::now();
        let date = format_amz_date(now + self.signed);
        let scope = Scope {
            date: date[..8].to_owned(),
            region: "us-east-1".to_owned(),
            service: "s3".to_owned(),
        };
        let credential = format!("{}/{scope}", self.user.access_key);
        let signing = [
            ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("x-amz-credential", credential),
            ("x-amz-date", date),
        ];
        let mut conditions = self.conditions.clone();
        conditions.extend(signing.iter().map(|(name, value)| json!({*name: value})));
        let policy = json!({
            "expiration": format_iso8601(now + self.expires),
            "conditions": conditions,
        });
        let policy = BASE64_STANDARD.encode(policy.to_string());
        let key = SigningKey::derive(&Secret::new(self.user.secret_key), &scope);
        let signature = hex(&key.sign(policy.as_bytes()));
        fields.extend(signing.map(|(name, value)| (name.to_owned(), value)));
        fields.push(("policy".to_owned(), policy));
        fields.push(("x-amz-signature".to_owned(), signature));
        fields
    }

    /// Everything before the first byte of the file.
    pub fn head(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, value) in self.signed_fields() {
            body.extend(self.part(&format!("name=\"{name}\"")));
            body.extend(value.bytes());
            body.extend(b"\r\n");
        }
        let file = format!("name=\"file\"; filename=\"{}\"", self.filename);
        body.extend(self.part(&file));
        body
    }

    /// Everything behind the last byte of the file.
    pub fn tail(&self) -> Vec<u8> {
        let mut body = b"\r\n".to_vec();
        for (name, value) in &self.after {
            body.extend(self.part(&format!("name=\"{name}\"")));
            body.extend(value.bytes());
            body.extend(b"\r\n");
        }
        body.extend(format!("--{}{}", self.boundary, self.ending).bytes());
        body
    }

    fn part(&self, name: &str) -> Vec<u8> {
        let boundary = self.boundary;
        format!("--{boundary}\r\nContent-Disposition: form-data; {name}\r\n\r\n").into_bytes()
    }

    pub fn body(&self) -> Vec<u8> {
        [self.head(), self.file.clone(), self.tail()].concat()
    }

    /// The request that brings it.
    pub fn ask(&self) -> Ask {
        let mut ask = Ask::bucket(Method::POST, &self.bucket)
            .form(Form::Anonymous)
            .body(&self.body());
        let kind = format!("multipart/form-data; boundary={}", self.boundary);
        ask.headers.insert(
            HeaderName::from_static("content-type"),
            HeaderValue::from_str(&kind).unwrap(),
        );
        ask
    }
}
