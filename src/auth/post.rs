//! Verifying the signature of a browser upload, which stands in the form and covers its policy (S3 API: "Authenticating
//! requests in browser-based uploads using POST").

use super::Secret;
use super::canonical::{ALGORITHM, SigningKey, unhex32};
use super::verify::{AuthError, Limits, NOBODYS_SECRET, parse_credential};
use crate::protocol::date::parse_amz_date;
use crate::protocol::post_form::Fields;

/// A form whose policy was signed by this access key. Only [`verify_form`] makes one.
#[derive(Debug)]
pub struct SignedForm {
    access_key: String,
}

impl SignedForm {
    /// The access key whose secret signed the policy.
    #[must_use]
    pub fn access_key(&self) -> &str {
        &self.access_key
    }
}

/// Verifies the signature over a form's `policy`. What the policy says is not looked at.
///
/// `lookup` gives the secret of an access key. `now` is in unix seconds.
///
/// # Errors
///
/// See [`AuthError`].
pub fn verify_form(
    fields: &Fields,
    lookup: impl Fn(&str) -> Option<Secret>,
    now: i64,
    limits: &Limits,
) -> Result<SignedForm, AuthError> {
    let malformed = AuthError::MalformedForm;
    let any = |names: &[&str]| names.iter().any(|name| fields.get(name).is_some());
    if any(&["awsaccesskeyid", "signature"]) {
        return Err(AuthError::SignatureVersion2);
    }
    if any(&["x-amz-security-token"]) {
        return Err(AuthError::InvalidToken);
    }
    let signing = [
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-signature",
    ];
    if !any(&signing) && !any(&["policy"]) {
        return Err(AuthError::Anonymous);
    }
    let field = |name: &'static str| fields.get(name).ok_or(AuthError::MissingField(name));
    let policy = field("policy")?;
    match field("x-amz-algorithm")? {
        ALGORITHM => {}
        other if other.starts_with("AWS4-ECDSA") => return Err(AuthError::NotImplemented),
        _ => return Err(malformed("x-amz-algorithm only supports AWS4-HMAC-SHA256")),
    }
    let time = parse_amz_date(field("x-amz-date")?)
        .map_err(|_| malformed("x-amz-date must be in the form yyyyMMddTHHmmssZ"))?;
    let credential = parse_credential(field("x-amz-credential")?, time, malformed)?;
    // What is not even a signature is a wrong one, to S3 too.
    let signature = unhex32(field("x-amz-signature")?);
    if time.saturating_sub(now) > i64::from(limits.max_skew) {
        return Err(AuthError::NotYetValid);
    }
    // The policy has a time of its own; this is how long S3 takes a key of one day.
    let expired = time.saturating_add(i64::from(limits.max_expiry));
    if now > expired {
        return Err(AuthError::Expired { expired, now });
    }

    let access_key = credential.access_key.to_owned();
    let known = lookup(&access_key);
    let unknown = known.is_none();
    let secret = known.unwrap_or_else(|| Secret::new(NOBODYS_SECRET));
    let key = SigningKey::derive(&secret, &credential.scope());
    let matches = signature.is_some_and(|signature| key.verify(policy.as_bytes(), &signature));
    if unknown {
        return Err(AuthError::InvalidAccessKeyId { access_key });
    }
    if !matches {
        return Err(AuthError::SignatureDoesNotMatch { access_key });
    }
    Ok(SignedForm { access_key })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S3 API: "Example: Browser-Based Upload using HTTP POST (Using AWS Signature Version 4)".
    const POLICY: &str = "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9";
    const SIGNATURE: &str = "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e";
    /// 2015-12-29T00:00:00Z
    const DATE: i64 = 1_451_347_200;
    const WEEK: i64 = 604_800;

    fn form() -> Fields {
        [
            ("policy", POLICY),
            ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
            (
                "x-amz-credential",
                "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request",
            ),
            ("x-amz-date", "20151229T000000Z"),
            ("x-amz-signature", SIGNATURE),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
    }

    fn with(name: &str, value: &str) -> Fields {
        let mut fields = form();
        fields.set(name, value.to_owned());
        fields
    }

    fn without(name: &str) -> Fields {
        let pairs = form();
        let kept = pairs.iter().filter(|(field, _)| *field != name);
        kept.map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
    }

    fn verify(fields: &Fields, now: i64) -> Result<SignedForm, AuthError> {
        let lookup = |access_key: &str| {
            (access_key == "AKIAIOSFODNN7EXAMPLE")
                .then(|| Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"))
        };
        verify_form(fields, lookup, now, &Limits::default())
    }

    #[test]
    fn the_example_of_the_documentation_verifies_for_a_week() {
        let signed = verify(&form(), DATE).unwrap();
        assert_eq!(signed.access_key(), "AKIAIOSFODNN7EXAMPLE");
        assert!(verify(&form(), DATE + WEEK).is_ok());
        assert!(matches!(
            verify(&form(), DATE + WEEK + 1),
            Err(AuthError::Expired { .. })
        ));
        assert!(verify(&form(), DATE - 900).is_ok());
        assert!(matches!(
            verify(&form(), DATE - 901),
            Err(AuthError::NotYetValid)
        ));
    }

    #[test]
    fn what_was_not_signed_is_refused() {
        let mismatch = |fields: &Fields| {
            matches!(
                verify(fields, DATE),
                Err(AuthError::SignatureDoesNotMatch { .. })
            )
        };
        assert!(mismatch(&with("policy", &POLICY[4..])));
        assert!(mismatch(&with("policy", "")));
        assert!(mismatch(&with(
            "x-amz-signature",
            &SIGNATURE.replace('8', "9")
        )));
        assert!(mismatch(&with(
            "x-amz-credential",
            "AKIAIOSFODNN7EXAMPLE/20151229/eu/s3/aws4_request"
        )));
        let unknown = with(
            "x-amz-credential",
            "NOBODY/20151229/us-east-1/s3/aws4_request",
        );
        assert!(matches!(
            verify(&unknown, DATE),
            Err(AuthError::InvalidAccessKeyId { .. })
        ));
    }

    #[test]
    fn fields_that_miss_or_cannot_be_read_are_told() {
        for name in [
            "policy",
            "x-amz-algorithm",
            "x-amz-credential",
            "x-amz-date",
            "x-amz-signature",
        ] {
            assert_eq!(
                verify(&without(name), DATE).unwrap_err(),
                AuthError::MissingField(name)
            );
        }
        for (name, value) in [
            ("x-amz-algorithm", "AWS4-HMAC-SHA1"),
            (
                "x-amz-credential",
                "AKIAIOSFODNN7EXAMPLE/20151228/us-east-1/s3/aws4_request",
            ),
            (
                "x-amz-credential",
                "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/ec2/aws4_request",
            ),
            ("x-amz-date", "yesterday"),
        ] {
            assert!(
                matches!(
                    verify(&with(name, value), DATE),
                    Err(AuthError::MalformedForm(_))
                ),
                "{name}"
            );
        }
        for signature in ["00", "", "no signature", &SIGNATURE[1..]] {
            assert!(
                matches!(
                    verify(&with("x-amz-signature", signature), DATE),
                    Err(AuthError::SignatureDoesNotMatch { .. })
                ),
                "{signature}"
            );
        }
        assert_eq!(
            verify(&Fields::default(), DATE).unwrap_err(),
            AuthError::Anonymous
        );
        assert_eq!(
            verify(&with("awsaccesskeyid", "x"), DATE).unwrap_err(),
            AuthError::SignatureVersion2
        );
        assert_eq!(
            verify(&with("x-amz-security-token", "x"), DATE).unwrap_err(),
            AuthError::InvalidToken
        );
        let other = with("x-amz-algorithm", "AWS4-ECDSA-P256-SHA256");
        assert_eq!(verify(&other, DATE).unwrap_err(), AuthError::NotImplemented);
    }
}
