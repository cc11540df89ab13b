//! Signature Version 4 against published vectors, against requests made by botocore, and both ways.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use sealgate::auth::canonical::{
    Scope, SigningKey, canonical_query, canonical_request, hex, string_to_sign,
};
use sealgate::auth::{
    AuthError, ChunkSigner, ChunkVerifier, Limits, Payload, RequestHead, Secret, Signer, Verified,
    verify,
};
use sealgate::digest::{Backend, Fips180};
use sealgate::protocol::aws_chunked::{ChunkAuth, ChunkedError, Decoder, decoded_content_length};
use sealgate::protocol::checksum::{Algorithm, Checksum, ChecksumError, Expected};
use sealgate::protocol::date::{parse_amz_date, parse_iso8601};
use sealgate::protocol::uri::{Target, encode_path};

const ACCESS: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// 20130524T000000Z, the time of all of AWS's S3 examples.
const NOW: i64 = 1_369_353_600;
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    map
}

fn with(mut map: HeaderMap, name: &'static str, value: &str) -> HeaderMap {
    map.insert(name, HeaderValue::from_str(value).unwrap());
    map
}

fn without(mut map: HeaderMap, name: &str) -> HeaderMap {
    map.remove(name);
    map
}

fn lookup(access_key: &str) -> Option<Secret> {
    (access_key == ACCESS).then(|| Secret::new(SECRET))
}

fn check(
    method: &str,
    raw_path: &str,
    raw_query: &str,
    headers: &HeaderMap,
    now: i64,
) -> Result<Verified, AuthError> {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let head = RequestHead {
        method: &method,
        raw_path,
        raw_query,
        headers,
    };
    verify(&head, lookup, now, &Limits::default())
}

fn authorization(signed: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={ACCESS}/20130524/us-east-1/s3/aws4_request,\
         SignedHeaders={signed},Signature={signature}"
    )
}

fn signer() -> Signer {
    Signer::new(ACCESS, Secret::new(SECRET), "us-east-1")
}

mod published {
    use super::*;

    #[test]
    fn get_object_with_range() {
        let map = headers(&[
            ("host", "examplebucket.s3.amazonaws.com"),
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", EMPTY),
            ("x-amz-date", "20130524T000000Z"),
            (
                "authorization",
                &authorization(
                    "host;range;x-amz-content-sha256;x-amz-date",
                    "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
                ),
            ),
        ]);
        let verified = check("GET", "/test.txt", "", &map, NOW).unwrap();
        assert_eq!(verified.access_key(), ACCESS);
        assert_eq!(verified.region(), "us-east-1");
        assert_eq!(verified.time(), NOW);
        assert!(!verified.presigned());
        assert!(matches!(verified.payload(), Payload::Signed(hash) if hex(hash) == EMPTY));
    }

    #[test]
    fn put_object() {
        let map = headers(&[
            ("host", "examplebucket.s3.amazonaws.com"),
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            (
                "x-amz-content-sha256",
                "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
            ),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            (
                "authorization",
                &authorization(
                    "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
                    "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
                ),
            ),
        ]);
        assert!(check("PUT", "/test$file.text", "", &map, NOW).is_ok());
        assert!(check("PUT", "/test%24file.text", "", &map, NOW).is_ok());
        assert!(check("PUT", "/test%2524file.text", "", &map, NOW).is_err());
        // Without x-amz-date the time comes from Date, but the unsigned rest must still fit.
        let bare = without(map, "x-amz-date");
        assert_eq!(
            check("PUT", "/test$file.text", "", &bare, NOW).unwrap_err(),
            AuthError::MissingSignedHeader("x-amz-date".to_owned())
        );
    }

    #[test]
    fn bucket_lifecycle_and_list() {
        for (query, signature) in [
            (
                "lifecycle",
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                "max-keys=2&prefix=J",
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let mut map = headers(&[("host", "examplebucket.s3.amazonaws.com")]);
            let signed = signer()
                .sign(&Method::GET, "/", query, &mut map, EMPTY, NOW)
                .unwrap();
            assert_eq!(signed.signature(), signature);
            assert!(check("GET", "/", query, &map, NOW).is_ok());
        }
    }

    #[test]
    fn presigned_get() {
        let map = headers(&[("host", "examplebucket.s3.amazonaws.com")]);
        let query = signer()
            .presign(&Method::GET, "/test.txt", "", &map, 86_400, NOW)
            .unwrap();
        assert_eq!(
            query,
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2F\
             us-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&\
             X-Amz-SignedHeaders=host&X-Amz-Signature=\
             aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
        let verified = check("GET", "/test.txt", &query, &map, NOW + 86_400).unwrap();
        assert!(verified.presigned());
        assert!(matches!(verified.payload(), Payload::Unsigned));
    }

    const CHUNKS: [&str; 3] = [
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    ];
    const TRAILER_CHUNKS: [&str; 3] = [
        "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
        "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
        "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
    ];
    const TRAILER: &str = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";

    fn chunks(signatures: [&str; 3]) -> Vec<u8> {
        let [one, two, three] = signatures;
        format!(
            "10000;chunk-signature={one}\r\n{}\r\n400;chunk-signature={two}\r\n{}\r\n\
             0;chunk-signature={three}\r\n",
            "a".repeat(65_536),
            "a".repeat(1024)
        )
        .into_bytes()
    }

    fn streaming(payload: &str, trailer: bool) -> HeaderMap {
        let mut map = headers(&[
            ("host", "s3.amazonaws.com"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-content-sha256", payload),
            ("content-encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", "66560"),
            ("content-length", "66824"),
        ]);
        let (signed, signature) = if trailer {
            map = with(map, "x-amz-trailer", "x-amz-checksum-crc32c");
            (
                "content-encoding;host;x-amz-content-sha256;x-amz-date;\
                 x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
                "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
            )
        } else {
            (
                "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;\
                 x-amz-decoded-content-length;x-amz-storage-class",
                "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
            )
        };
        with(map, "authorization", &authorization(signed, signature))
    }

    fn decoder(map: &HeaderMap) -> Decoder<ChunkVerifier> {
        let verified = check("PUT", "/examplebucket/chunkObject.txt", "", map, NOW).unwrap();
        let Payload::Chunked { signed, trailer } = verified.into_payload() else {
            panic!("not chunked");
        };
        Decoder::new(signed, trailer, decoded_content_length(map).unwrap())
    }

    #[test]
    fn chunked_upload() {
        let map = streaming("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", false);
        for end in ["\r\n", ""] {
            let mut body = chunks(CHUNKS);
            body.extend_from_slice(end.as_bytes());
            let (data, trailers) = decode(decoder(&map), &body, 1000).unwrap();
            assert_eq!(data, vec![b'a'; 66_560]);
            assert!(trailers.is_empty());
        }
        for (wrong, at) in [
            ([CHUNKS[1], CHUNKS[1], CHUNKS[2]], 0),
            ([CHUNKS[0], CHUNKS[2], CHUNKS[2]], 1),
            ([CHUNKS[0], CHUNKS[1], CHUNKS[0]], 2),
        ] {
            let error = decode(decoder(&map), &chunks(wrong), 1000).unwrap_err();
            assert_eq!(error, ChunkedError::SignatureMismatch, "chunk {at}");
        }
        let mut flipped = chunks(CHUNKS);
        flipped[1000] = b'b';
        assert_eq!(
            decode(decoder(&map), &flipped, 1000).unwrap_err(),
            ChunkedError::SignatureMismatch
        );
    }

    #[test]
    fn chunked_upload_with_trailer() {
        let map = streaming("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", true);
        let expected = Expected::from_headers(&map, None).unwrap();
        // As AWS documents it, with a blank line behind the last chunk, and as minio-go frames it.
        for trailer in [
            format!("x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:{TRAILER}\r\n\r\n"),
            format!("x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:{TRAILER}\r\n"),
            format!(
                "\r\nx-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:{TRAILER}\r\n\r\n"
            ),
            format!(
                "x-amz-checksum-crc32c:sOO8/Q==\n\r\nx-amz-trailer-signature:{TRAILER}\r\n\r\n"
            ),
            format!("X-Amz-Checksum-Crc32c: sOO8/Q== \nx-amz-trailer-signature: {TRAILER}\n\n"),
        ] {
            let mut body = chunks(TRAILER_CHUNKS);
            body.extend_from_slice(trailer.as_bytes());
            let (data, trailers) = decode(decoder(&map), &body, 777).unwrap();
            let mut hashes = expected.hashes(false, None);
            hashes.update(&data);
            assert_eq!(expected.check(&hashes.finish(), &trailers), Ok(()));
        }
        for (trailer, error) in [
            (
                "x-amz-checksum-crc32c:sOO8/Q==\r\n\r\n".to_owned(),
                ChunkedError::SignatureMismatch,
            ),
            (String::new(), ChunkedError::SignatureMismatch),
            (
                format!("x-amz-trailer-signature:{TRAILER}\r\n\r\n"),
                ChunkedError::SignatureMismatch,
            ),
            (
                format!("x-amz-checksum-crc32c:sOO8/A==\r\nx-amz-trailer-signature:{TRAILER}\r\n"),
                ChunkedError::SignatureMismatch,
            ),
            (
                format!("x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:{TRAILER}"),
                ChunkedError::Truncated,
            ),
            (
                format!(
                    "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:{TRAILER}\r\nx:y\r\n"
                ),
                ChunkedError::TrailingData,
            ),
        ] {
            let mut body = chunks(TRAILER_CHUNKS);
            body.extend_from_slice(trailer.as_bytes());
            assert_eq!(decode(decoder(&map), &body, 777), Err(error), "{trailer}");
        }
    }

    #[test]
    fn what_the_chunk_signer_makes_is_verified() {
        let mut map = without(
            streaming("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", true),
            "authorization",
        );
        // AWS's example signs Content-Encoding as well, so its chain starts elsewhere.
        let signer = signer();
        let signed = signer
            .sign(
                &Method::PUT,
                "/examplebucket/chunkObject.txt",
                "",
                &mut map,
                "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
                NOW,
            )
            .unwrap();
        let mut chain = signer.chunk_signer(&signed);
        let [one, two, three] = [
            chain.sign_chunk(&vec![b'a'; 65_536]),
            chain.sign_chunk(&vec![b'a'; 1024]),
            chain.sign_chunk(b""),
        ];
        let trailers = headers(&[("x-amz-checksum-crc32c", "sOO8/Q==")]);
        let last = chain.sign_trailer(&trailers);
        let mut body = chunks([&one, &two, &three]);
        body.extend_from_slice(
            format!("x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:{last}\r\n\r\n")
                .as_bytes(),
        );
        let (_, got) = decode(decoder(&map), &body, 4096).unwrap();
        assert_eq!(got, trailers);
    }
}

/// Feeds a body in pieces of `piece` bytes.
fn decode(
    mut decoder: Decoder<ChunkVerifier>,
    body: &[u8],
    piece: usize,
) -> Result<(Vec<u8>, HeaderMap), ChunkedError> {
    let mut data = Vec::new();
    for piece in body.chunks(piece.max(1)) {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(out) = decoder.decode(&mut input)? {
            assert!(!out.is_empty());
            data.extend_from_slice(&out);
        }
        assert!(input.is_empty());
    }
    Ok((data, decoder.finish()?))
}

#[test]
fn aws_suite() {
    let suite: serde_json::Value =
        serde_json::from_str(include_str!("vectors/sigv4/aws-suite.json")).unwrap();
    let cases = suite["cases"].as_array().unwrap();
    assert!(cases.len() >= 30);
    for case in cases {
        let text = |name: &str| case[name].as_str().unwrap();
        let name = text("name");
        let canonical = text("canonical");

        let request = text("request");
        let (head, _) = request.split_once("\n\n").unwrap_or((request, ""));
        let mut lines = head.lines();
        let line = lines.next().unwrap();
        let (method, rest) = line.split_once(' ').unwrap();
        let (target, _) = rest.rsplit_once(" HTTP").unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut map = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').unwrap();
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        // What the suite's signer adds itself.
        let amz_date = text("string_to_sign").lines().nth(1).unwrap();
        map.insert("x-amz-date", HeaderValue::from_str(amz_date).unwrap());
        if let Some(token) = case["token"].as_str() {
            map.insert(
                "x-amz-security-token",
                HeaderValue::from_str(token).unwrap(),
            );
        }
        let mut tail = canonical.rsplit('\n');
        let payload = tail.next().unwrap();
        let signed: Vec<HeaderName> = tail
            .next()
            .unwrap()
            .split(';')
            .map(|name| HeaderName::from_bytes(name.as_bytes()).unwrap())
            .collect();
        if signed.iter().any(|name| name == "x-amz-content-sha256") {
            map.insert(
                "x-amz-content-sha256",
                HeaderValue::from_str(payload).unwrap(),
            );
        }
        if signed.iter().any(|name| name == "content-length") && !map.contains_key("content-length")
        {
            let (_, body) = request.split_once("\n\n").unwrap();
            map.insert("content-length", HeaderValue::from(body.len()));
        }

        let built = canonical_request(method, path, query, &map, &signed, payload).unwrap();
        assert_eq!(String::from_utf8_lossy(&built), canonical, "{name}");
        let scope = Scope {
            date: amz_date[..8].to_owned(),
            region: text("region").to_owned(),
            service: text("service").to_owned(),
        };
        assert_eq!(
            parse_iso8601(text("timestamp")).unwrap(),
            parse_amz_date(amz_date).unwrap()
        );
        let to_sign = string_to_sign(amz_date, &scope, &built);
        assert_eq!(to_sign, text("string_to_sign"), "{name}");
        let key = SigningKey::derive(&Secret::new(text("secret")), &scope);
        assert_eq!(
            hex(&key.sign(to_sign.as_bytes())),
            text("signature"),
            "{name}"
        );

        // The same request presigned: the query of the canonical request is canonical already.
        let canonical = text("query_canonical");
        let mut lines = canonical.lines();
        let query = lines.nth(2).unwrap();
        assert_eq!(canonical_query(query).unwrap(), query, "{name}");
        let to_sign = string_to_sign(amz_date, &scope, canonical.as_bytes());
        assert_eq!(to_sign, text("query_string_to_sign"), "{name}");
        assert_eq!(
            hex(&key.sign(to_sign.as_bytes())),
            text("query_signature"),
            "{name}"
        );
    }
}

#[test]
fn botocore() {
    let file: serde_json::Value =
        serde_json::from_str(include_str!("vectors/sigv4/botocore.json")).unwrap();
    let text = |name: &str| file[name].as_str().unwrap();
    let now = file["now"].as_i64().unwrap();
    let find =
        |access_key: &str| (access_key == text("access_key")).then(|| Secret::new(text("secret")));
    let resigner = Signer::new(
        text("access_key"),
        Secret::new(text("secret")),
        text("region"),
    );
    let (mut chunked, mut signed, mut resigned) = (0, 0, 0);
    for case in file["cases"].as_array().unwrap() {
        let text = |name: &str| case[name].as_str().unwrap();
        let name = text("name");
        let mut map = HeaderMap::new();
        for header in case["headers"].as_array().unwrap() {
            map.append(
                HeaderName::from_bytes(header[0].as_str().unwrap().as_bytes()).unwrap(),
                HeaderValue::from_bytes(header[1].as_str().unwrap().as_bytes()).unwrap(),
            );
        }
        let method = Method::from_bytes(text("method").as_bytes()).unwrap();
        let head = RequestHead {
            method: &method,
            raw_path: text("path"),
            raw_query: text("query"),
            headers: &map,
        };
        let verified = verify(&head, find, now, &Limits::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(verified.presigned(), case["presigned"].as_bool().unwrap());
        assert_eq!(verified.region(), file["region"].as_str().unwrap());

        let host = map["host"].to_str().unwrap();
        let target = Target::parse(
            text("path"),
            Some(host),
            &[file["domain"].as_str().unwrap()],
        );
        let target = target.unwrap();
        assert_eq!(target.bucket(), case["bucket"].as_str(), "{name}");
        assert_eq!(target.key(), case["key"].as_str(), "{name}");

        let body = STANDARD.decode(text("body")).unwrap();
        let (data, trailers, hash) = match verified.into_payload() {
            Payload::Chunked {
                signed: None,
                trailer,
            } => {
                chunked += 1;
                let length = decoded_content_length(&map).unwrap();
                let decoder = Decoder::new(None, trailer, length);
                let (data, trailers) = decode(decoder, &body, 100).unwrap();
                (data, trailers, None)
            }
            Payload::Signed(hash) => {
                signed += 1;
                (body, HeaderMap::new(), Some(hash))
            }
            _ => (body, HeaderMap::new(), None),
        };
        let expected = Expected::from_headers(&map, hash).unwrap();
        let mut hashes = expected.hashes(false, None);
        hashes.update(&data);
        assert_eq!(
            expected.check(&hashes.finish(), &trailers),
            Ok(()),
            "{name}"
        );
        if expected.algorithm().is_some() {
            let mut hashes = expected.hashes(false, None);
            hashes.update(&[&data[..], b"x"].concat());
            assert!(expected.check(&hashes.finish(), &trailers).is_err());
        }

        // Where both cover the same headers, both make the same signature.
        if let Some(authorization) = map.remove("authorization") {
            let theirs = authorization.to_str().unwrap().replace(", ", ",");
            let payload = map["x-amz-content-sha256"].to_str().unwrap().to_owned();
            resigner
                .sign(
                    &method,
                    text("path"),
                    text("query"),
                    &mut map,
                    &payload,
                    now,
                )
                .unwrap();
            let ours = map["authorization"].to_str().unwrap();
            let covered = |text: &str| text.split("Signature=").next().unwrap().to_owned();
            if covered(ours) == covered(&theirs) {
                assert_eq!(ours, theirs, "{name}");
                resigned += 1;
            }
        }
    }
    assert!(
        chunked >= 6 && signed >= 60 && resigned >= 40,
        "{chunked} {signed} {resigned}"
    );
}

mod both_ways {
    use super::*;

    const KEYS: [&str; 12] = [
        "plain",
        "a b",
        "a+b%20%",
        "//x//",
        "../a/./..",
        "ünï/€/😀",
        "@=&()[]!'*",
        "~_-.",
        "\\|^`\"<>{}#?;:,$",
        "tab\tline\nnul\0",
        "%2F",
        ".",
    ];

    #[test]
    fn nasty_keys() {
        for key in KEYS {
            let path = encode_path("bucket", key);
            for query in [
                "",
                "versionId=a+b%2B%20&uploads&x=%C3%A9&a=",
                "b=2&a=2&a=1&A=3",
            ] {
                let mut map = headers(&[
                    ("host", "localhost:8080"),
                    ("content-type", "text/plain; charset=utf-8"),
                    ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
                    ("x-amz-meta-note", "  two   spaces "),
                    ("x-amz-meta-note", "and\tanother"),
                    ("range", "bytes=0-1"),
                ]);
                signer()
                    .sign(
                        &Method::PUT,
                        &path,
                        query,
                        &mut map,
                        "UNSIGNED-PAYLOAD",
                        NOW,
                    )
                    .unwrap();
                assert!(
                    check("PUT", &path, query, &map, NOW).is_ok(),
                    "{key} {query}"
                );
                // Encoding more or less than needed changes nothing.
                let wide: String = format!("/bucket/{key}")
                    .bytes()
                    .map(|byte| match byte {
                        b'/' => "/".to_owned(),
                        byte => format!("%{byte:02x}"),
                    })
                    .collect();
                assert!(check("PUT", &wide, query, &map, NOW).is_ok());
                // The content type and what it covers cannot be changed.
                let other = with(map.clone(), "content-type", "text/html");
                assert!(check("PUT", &path, query, &other, NOW).is_err());

                let host = headers(&[("host", "localhost:8080")]);
                let query = signer()
                    .presign(&Method::GET, &path, query, &host, 60, NOW)
                    .unwrap();
                assert!(check("GET", &path, &query, &host, NOW + 60).is_ok());
                assert!(check("PUT", &path, &query, &host, NOW).is_err());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_key_and_query(key in "(?s).{1,60}", name in "(?s).{0,10}", value in "(?s).{0,10}") {
            let path = encode_path("bucket", &key);
            let mut query = sealgate::protocol::uri::Query::default();
            query.push(name, value);
            let query = query.encode();
            let mut map = headers(&[("host", "h")]);
            signer().sign(&Method::GET, &path, &query, &mut map, EMPTY, NOW).unwrap();
            prop_assert!(check("GET", &path, &query, &map, NOW).is_ok());
        }

        #[test]
        fn garbage_never_panics(
            authorization in "(AWS4-HMAC-SHA256 )?[ -~]{0,120}",
            query in "(X-Amz-[A-Za-z]{1,15}=)?[ -~]{0,80}",
            path in "/[ -~]{0,40}",
        ) {
            let map = headers(&[("host", "h"), ("authorization", &authorization)]);
            let _ = check("GET", &path, "", &map, NOW);
            let _ = check("GET", &path, &query, &headers(&[("host", "h")]), NOW);
        }

        #[test]
        fn mutated_headers_are_refused(at in 0usize..400, flip in 1u8..128) {
            let mut map = headers(&[("host", "h")]);
            signer().sign(&Method::GET, "/b/k", "", &mut map, EMPTY, NOW).unwrap();
            let mut value = map["authorization"].as_bytes().to_vec();
            let at = at % value.len();
            value[at] ^= flip;
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()); };
            let same = value.to_str().is_ok_and(|text| {
                text.eq_ignore_ascii_case(map["authorization"].to_str().unwrap())
            });
            map.insert("authorization", value);
            prop_assert!(same || check("GET", "/b/k", "", &map, NOW).is_err());
        }

        #[test]
        fn chunked_bodies_decode_whatever_the_split(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..5),
            piece in 1usize..40,
            signed in any::<bool>(),
            trailer in any::<bool>(),
            damage in proptest::option::of((any::<prop::sample::Index>(), 1u8..=255)),
        ) {
            let (chain, verifier) = chain(trailer);
            let body = encode(&chunks, signed.then_some(chain), trailer);
            let plain = chunks.concat();
            let decoder = |length| {
                Decoder::new(signed.then(|| verifier.clone()), trailer, length).of_any_chunks()
            };
            let length = plain.len() as u64;
            let whole = decode(decoder(length), &body, usize::MAX);
            prop_assert_eq!(&whole.as_ref().unwrap().0, &plain);
            prop_assert_eq!(&decode(decoder(length), &body, piece), &whole);
            prop_assert!(decode(decoder(length + 1), &body, piece).is_err());
            // Cut anywhere before the last chunk header is complete, it is refused.
            let last = body.len() - if trailer { 200.min(body.len()) } else { 4 };
            for cut in 0..last.min(body.len()) {
                if let Ok((data, _)) = decode(decoder(length), &body[..cut], usize::MAX) {
                    prop_assert_eq!(&data, &plain);
                }
            }
            // Damaged anywhere, it never panics, splits alike, and signed data never differs.
            if let Some((index, flip)) = damage {
                let mut damaged = body.clone();
                let at = index.index(damaged.len());
                damaged[at] ^= flip;
                let result = decode(decoder(length), &damaged, usize::MAX);
                prop_assert_eq!(&decode(decoder(length), &damaged, piece), &result);
                if let (true, Ok((data, trailers))) = (signed, result) {
                    prop_assert_eq!(&data, &plain);
                    prop_assert_eq!(&trailers, &whole.unwrap().1);
                }
            }
        }
    }

    /// Hashes each chunk while it passes.
    struct OneByOne(ChunkVerifier);

    impl ChunkAuth for OneByOne {
        fn update(&mut self, data: &[u8]) {
            self.0.update(data);
        }

        fn finish_chunk(&mut self, signature: &[u8; 32]) -> bool {
            self.0.finish_chunk(signature)
        }

        fn finish_trailer(&mut self, trailers: &HeaderMap, signature: &[u8; 32]) -> bool {
            self.0.finish_trailer(trailers, signature)
        }
    }

    /// Decodes both ways, and sees after every step that nothing differs. Gives the bytes that were hashed side by side.
    fn decode_both(
        verifier: &ChunkVerifier,
        trailer: bool,
        length: u64,
        body: &[u8],
        read: usize,
    ) -> u64 {
        let mut plain =
            Decoder::new(Some(OneByOne(verifier.clone())), trailer, length).of_any_chunks();
        let mut ahead = Decoder::new(Some(verifier.clone()), trailer, length).of_any_chunks();
        'reads: for read in body.chunks(read) {
            let mut input = Bytes::copy_from_slice(read);
            let mut same = input.clone();
            loop {
                let step = ahead.decode(&mut input);
                assert_eq!(step, plain.decode(&mut same));
                assert_eq!(input.len(), same.len());
                match step {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => break 'reads,
                }
            }
        }
        let hashed = ahead.auth().unwrap().hashed().iter();
        let hashed = hashed.filter(|(lanes, _)| *lanes > 1);
        let side_by_side = hashed.map(|(_, bytes)| bytes).sum();
        assert_eq!(ahead.finish(), plain.finish());
        side_by_side
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn looking_ahead_changes_no_verdict(
            size in 1usize..1000,
            others in proptest::collection::vec((0usize..40, 1usize..1000), 0..4),
            count in 1usize..40,
            read in prop_oneof![1usize..20_000, Just(usize::MAX)],
            trailer: bool,
            damage in proptest::option::of((any::<prop::sample::Index>(), 1u8..=255)),
            swap in proptest::option::of((0usize..40, 0usize..40)),
        ) {
            let mut sizes = vec![size; count];
            for (at, size) in others {
                sizes[at % count] = size;
            }
            let chunks: Vec<Vec<u8>> = (0u8..)
                .zip(&sizes)
                .map(|(n, size)| (0..*size).map(|at| n.wrapping_mul(31) ^ at as u8).collect())
                .collect();
            let (chain, verifier) = chain(trailer);
            let mut body = encode(&chunks, Some(chain), trailer);
            if let Some((index, flip)) = damage {
                let at = index.index(body.len());
                body[at] ^= flip;
            }
            // Two chunks of one size change places, headers stay.
            if let Some((one, other)) = swap {
                let at = |chunk: usize| {
                    let header = |size: usize| format!("{size:x}").len() + 17 + 64 + 2;
                    let before = sizes[..chunk].iter().map(|size| header(*size) + size + 2);
                    before.sum::<usize>() + header(sizes[chunk])
                };
                let (one, other) = (one % count, other % count);
                let length = sizes[one].min(sizes[other]);
                let (one, other) = (at(one), at(other));
                for n in 0..length {
                    body.swap(one + n, other + n);
                }
            }
            let length = sizes.iter().sum::<usize>() as u64;
            for backend in Backend::all() {
                let verifier = verifier.clone().with_backend(backend);
                decode_both(&verifier, trailer, length, &body, read);
            }
        }
    }

    #[test]
    fn chunks_of_one_read_are_hashed_side_by_side() {
        const CHUNK: usize = 16 * 1024;
        let chunks: Vec<_> = (0..40).map(|n| vec![n; CHUNK]).collect();
        let length = (chunks.len() * CHUNK) as u64;
        let (chain, verifier) = chain(false);
        let body = encode(&chunks, Some(chain), false);
        for backend in Backend::all() {
            let verifier = verifier.clone().with_backend(backend);
            let side_by_side = |read| decode_both(&verifier, false, length, &body, read);
            let all = side_by_side(20 * CHUNK - 1);
            if backend.lanes::<Fips180>() == 1 {
                assert_eq!(all, 0, "{backend:?}");
                continue;
            }
            assert!(all > length * 9 / 10, "{backend:?} {all} of {length}");
            // Reads that bring fewer chunks than pay, those in part among them.
            let few = backend.pays::<Fips180>() - 2;
            assert_eq!(side_by_side(few * CHUNK - 1), 0, "{backend:?}");
        }
    }

    #[test]
    fn what_was_shown_and_does_not_come_is_refused() {
        let data = [vec![b'a'; 100], vec![b'b'; 100]];
        let shown = vec![&data[0][..]; 20];
        for backend in Backend::all() {
            let lanes = backend.lanes::<Fips180>() > 1;
            for (comes, right) in [
                (&data[0][..], true),
                (&data[1][..], !lanes),
                // The same, but not what was shown.
                (&data[0].clone()[..], !lanes),
                (&data[0][..99], !lanes),
            ] {
                let (mut chain, verifier) = chain(false);
                let mut verifier = verifier.with_backend(backend);
                verifier.look_ahead(shown.iter().copied());
                verifier.update(comes);
                let signature = chain.sign_chunk(comes);
                let signature: Vec<u8> = hex::decode(signature).unwrap();
                let signature = signature.try_into().unwrap();
                assert_eq!(verifier.finish_chunk(&signature), right, "{backend:?}");
            }
        }
    }

    fn chain(trailer: bool) -> (ChunkSigner, ChunkVerifier) {
        let literal = if trailer {
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
        } else {
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
        };
        let mut map = headers(&[("host", "h")]);
        let signer = signer();
        let head = signer
            .sign(&Method::PUT, "/b/k", "", &mut map, literal, NOW)
            .unwrap();
        let chunks = signer.chunk_signer(&head);
        match check("PUT", "/b/k", "", &map, NOW).unwrap().into_payload() {
            Payload::Chunked {
                signed: Some(verifier),
                ..
            } => (chunks, verifier),
            other => panic!("{other:?}"),
        }
    }

    fn encode(chunks: &[Vec<u8>], mut chain: Option<ChunkSigner>, trailer: bool) -> Vec<u8> {
        let mut body = Vec::new();
        for chunk in chunks.iter().map(Vec::as_slice).chain([&b""[..]]) {
            body.extend_from_slice(format!("{:x}", chunk.len()).as_bytes());
            if let Some(chain) = &mut chain {
                let signature = chain.sign_chunk(chunk);
                body.extend_from_slice(format!(";chunk-signature={signature}").as_bytes());
            }
            body.extend_from_slice(b"\r\n");
            if !chunk.is_empty() {
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
        }
        if trailer {
            let value = Checksum::of(Algorithm::Crc32, &chunks.concat()).to_base64();
            body.extend_from_slice(format!("x-amz-checksum-crc32:{value}\r\n").as_bytes());
            if let Some(chain) = &mut chain {
                let signature = chain.sign_trailer(&headers(&[("x-amz-checksum-crc32", &value)]));
                body.extend_from_slice(
                    format!("x-amz-trailer-signature:{signature}\r\n").as_bytes(),
                );
            }
        }
        body.extend_from_slice(b"\r\n");
        body
    }
}

mod refused {
    use super::*;

    fn signed_get() -> HeaderMap {
        let mut map = headers(&[("host", "h"), ("x-amz-meta-a", "1")]);
        signer()
            .sign(&Method::GET, "/b/k", "", &mut map, EMPTY, NOW)
            .unwrap();
        map
    }

    fn get(map: &HeaderMap) -> AuthError {
        check("GET", "/b/k", "", map, NOW).unwrap_err()
    }

    fn edited(from: &str, to: &str) -> AuthError {
        let map = signed_get();
        let value = map["authorization"].to_str().unwrap();
        assert!(value.contains(from), "{value}");
        let value = value.replace(from, to);
        get(&with(map, "authorization", &value))
    }

    #[test]
    fn header_authentication() {
        assert!(check("GET", "/b/k", "", &signed_get(), NOW).is_ok());
        assert_eq!(get(&headers(&[("host", "h")])), AuthError::Anonymous);
        assert_eq!(
            get(&with(
                signed_get(),
                "authorization",
                "AWS AKID:c2lnbmF0dXJl"
            )),
            AuthError::SignatureVersion2
        );
        for scheme in ["Bearer x", "", "AWS4-HMAC-SHA512 x"] {
            assert_eq!(
                get(&with(signed_get(), "authorization", scheme)),
                AuthError::UnsupportedScheme
            );
        }
        assert_eq!(
            edited("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
            AuthError::NotImplemented
        );
        for (from, to) in [
            ("Credential=", "credential="),
            ("Credential=", "Signature="),
            (",Signature=", ",Signature=0,Signature="),
            (",Signature=", ",Signature=zz"),
            (",Signature=", ";Signature="),
            ("SignedHeaders=", "SignedHeaders=;"),
            ("SignedHeaders=host", "SignedHeaders=Host"),
            ("SignedHeaders=host", "SignedHeaders=host;host"),
            ("SignedHeaders=host", "SignedHeaders=h st"),
            ("/aws4_request", "/aws5_request"),
            ("/s3/", "/sts/"),
            ("/s3/", "/"),
            ("20130524", "20130525"),
            ("us-east-1", ""),
            ("us-east-1", "us east"),
            (ACCESS, ""),
            (" Credential", " ,Credential"),
        ] {
            let error = edited(from, to);
            assert!(
                matches!(error, AuthError::MalformedHeader(_)),
                "{from} {to}: {error:?}"
            );
        }
        let many = (0..200)
            .map(|n| format!("h{n}"))
            .collect::<Vec<_>>()
            .join(";");
        assert!(matches!(
            edited("SignedHeaders=host", &format!("SignedHeaders=host;{many}")),
            AuthError::MalformedHeader(_)
        ));
        let mut twice = signed_get();
        twice.append("authorization", HeaderValue::from_static("x"));
        assert!(matches!(get(&twice), AuthError::MalformedHeader(_)));
        assert_eq!(
            check("GET", "/b/k", "X-Amz-Signature=x", &signed_get(), NOW).unwrap_err(),
            AuthError::SeveralMechanisms
        );
        assert_eq!(
            edited(ACCESS, "NOBODY"),
            AuthError::InvalidAccessKeyId {
                access_key: "NOBODY".to_owned()
            }
        );
        let mismatch = AuthError::SignatureDoesNotMatch {
            access_key: ACCESS.to_owned(),
        };
        assert_eq!(edited("us-east-1", "eu-west-1"), mismatch);
        assert_eq!(get(&with(signed_get(), "x-amz-meta-a", "2")), mismatch);
        assert_eq!(get(&with(signed_get(), "host", "other")), mismatch);
        for (method, path, query) in [
            ("PUT", "/b/k", ""),
            ("GET", "/b/K", ""),
            ("GET", "/b//k", ""),
            ("GET", "/b/./k", ""),
            ("GET", "/b/k", "acl"),
        ] {
            let error = check(method, path, query, &signed_get(), NOW).unwrap_err();
            assert_eq!(error, mismatch, "{method} {path} {query}");
        }
        assert_eq!(
            check("GET", "/b/%k", "", &signed_get(), NOW).unwrap_err(),
            AuthError::InvalidUri
        );
        assert_eq!(
            check("GET", "/b/k", "a=%", &signed_get(), NOW).unwrap_err(),
            AuthError::InvalidUri
        );
    }

    #[test]
    fn spaces_in_the_header_do_not_matter() {
        for separator in [", ", ",  ", " ,"] {
            let map = signed_get();
            let value = map["authorization"]
                .to_str()
                .unwrap()
                .replace(',', separator);
            let map = with(map, "authorization", &value);
            assert!(check("GET", "/b/k", "", &map, NOW).is_ok());
        }
    }

    #[test]
    fn time() {
        let at = |now| check("GET", "/b/k", "", &signed_get(), now);
        assert!(at(NOW + 900).is_ok() && at(NOW - 900).is_ok());
        for now in [NOW + 901, NOW - 901, i64::MAX, i64::MIN, 0] {
            assert_eq!(
                at(now).unwrap_err(),
                AuthError::TimeTooSkewed { request: NOW, now }
            );
        }
        for value in ["", "now", "Fri, 24 May 2013 00:00:00 GMT"] {
            assert_eq!(
                get(&with(signed_get(), "x-amz-date", value)),
                AuthError::MissingDate
            );
        }
        assert_eq!(
            get(&without(signed_get(), "x-amz-date")),
            AuthError::MissingDate
        );
        let mut twice = signed_get();
        twice.append("x-amz-date", HeaderValue::from_static("20130524T000000Z"));
        assert_eq!(get(&twice), AuthError::MissingDate);
    }

    #[test]
    fn date_header_instead_of_x_amz_date() {
        let map = headers(&[
            ("host", "h"),
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-content-sha256", EMPTY),
        ]);
        let signed = ["date", "host", "x-amz-content-sha256"].map(HeaderName::from_static);
        let request = canonical_request("GET", "/b/k", "", &map, &signed, EMPTY).unwrap();
        let scope = Scope {
            date: "20130524".to_owned(),
            region: "us-east-1".to_owned(),
            service: "s3".to_owned(),
        };
        let signature = SigningKey::derive(&Secret::new(SECRET), &scope)
            .sign(string_to_sign("20130524T000000Z", &scope, &request).as_bytes());
        let value = authorization("date;host;x-amz-content-sha256", &hex(&signature));
        let map = with(map, "authorization", &value);
        assert!(check("GET", "/b/k", "", &map, NOW).is_ok());
    }

    #[test]
    fn coverage() {
        assert_eq!(
            edited("SignedHeaders=host;", "SignedHeaders="),
            AuthError::MissingSignedHeader("host".to_owned())
        );
        assert_eq!(
            edited("SignedHeaders=host", "SignedHeaders=host;x-absent"),
            AuthError::MissingSignedHeader("x-absent".to_owned())
        );
        assert_eq!(
            get(&with(signed_get(), "x-amz-acl", "public-read")),
            AuthError::UnsignedHeader("x-amz-acl".to_owned())
        );
        assert_eq!(
            get(&with(signed_get(), "x-amz-security-token", "t")),
            AuthError::InvalidToken
        );
        // Other headers may be added on the way.
        assert!(check("GET", "/b/k", "", &with(signed_get(), "via", "x"), NOW).is_ok());
    }

    #[test]
    fn payload_header() {
        assert_eq!(
            get(&without(signed_get(), "x-amz-content-sha256")),
            AuthError::MissingContentSha256
        );
        for value in ["", "required", "UNSIGNED", &EMPTY[1..]] {
            assert_eq!(
                get(&with(signed_get(), "x-amz-content-sha256", value)),
                AuthError::InvalidContentSha256
            );
        }
        assert_eq!(
            get(&with(
                signed_get(),
                "x-amz-content-sha256",
                "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
            )),
            AuthError::NotImplemented
        );
        // The literal is covered, so the form cannot be changed on the way.
        assert!(matches!(
            get(&with(
                signed_get(),
                "x-amz-content-sha256",
                "UNSIGNED-PAYLOAD"
            )),
            AuthError::SignatureDoesNotMatch { .. }
        ));
        for (literal, want) in [
            ("UNSIGNED-PAYLOAD", (false, false, false)),
            ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", (true, false, true)),
            ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", (true, true, false)),
            (
                "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
                (true, true, true),
            ),
        ] {
            let mut map = headers(&[("host", "h")]);
            signer()
                .sign(&Method::PUT, "/b/k", "", &mut map, literal, NOW)
                .unwrap();
            let payload = check("PUT", "/b/k", "", &map, NOW).unwrap().into_payload();
            let got = match payload {
                Payload::Chunked { signed, trailer } => (true, signed.is_some(), trailer),
                Payload::Unsigned => (false, false, false),
                Payload::Signed(_) => panic!("{literal}"),
            };
            assert_eq!(got, want, "{literal}");
        }
    }

    fn presigned(expires: u32) -> String {
        signer()
            .presign(
                &Method::PUT,
                "/b/k",
                "partNumber=1",
                &headers(&[("host", "h")]),
                expires,
                NOW,
            )
            .unwrap()
    }

    fn put(query: &str) -> AuthError {
        check("PUT", "/b/k", query, &headers(&[("host", "h")]), NOW).unwrap_err()
    }

    #[test]
    fn presigned_urls() {
        let host = headers(&[("host", "h")]);
        let query = presigned(60);
        assert!(check("PUT", "/b/k", &query, &host, NOW).is_ok());
        assert!(check("PUT", "/b/k", &presigned(604_800), &host, NOW + 604_800).is_ok());
        assert_eq!(
            check("PUT", "/b/k", &query, &host, NOW + 61).unwrap_err(),
            AuthError::Expired {
                expired: NOW + 60,
                now: NOW + 61
            }
        );
        assert!(check("PUT", "/b/k", &query, &host, NOW - 900).is_ok());
        assert_eq!(
            check("PUT", "/b/k", &query, &host, NOW - 901).unwrap_err(),
            AuthError::NotYetValid
        );
        for expires in [0, 604_801, u32::MAX] {
            assert!(matches!(
                put(&presigned(expires)),
                AuthError::MalformedQuery(_)
            ));
        }
        for (from, to) in [
            ("X-Amz-Expires=60", "X-Amz-Expires=-60"),
            ("X-Amz-Expires=60", "X-Amz-Expires="),
            ("X-Amz-Expires=60", "X-Amz-Expires=99999999999999999999"),
            ("X-Amz-Expires=60&", ""),
            ("X-Amz-Algorithm=AWS4-HMAC-SHA256&", ""),
            ("X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Algorithm=x"),
            ("X-Amz-Date=2013", "X-Amz-Date=x"),
            ("X-Amz-SignedHeaders=host&", ""),
            ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders="),
            ("X-Amz-Signature=", "X-Amz-Signature=0"),
            ("X-Amz-Signature=", "Y-Amz-Signature="),
            ("%2Fs3%2F", "%2Fec2%2F"),
            ("20130524%2F", "20130523%2F"),
            ("X-Amz-Expires=60", "X-Amz-Expires=60&X-Amz-Expires=60"),
            ("X-Amz-Expires=60", "X-Amz-Expires=60&X%2DAmz-Expires=60"),
            ("X-Amz-Expires=60", "X-Amz-Expires=%ff"),
        ] {
            assert!(query.contains(from));
            let error = put(&query.replace(from, to));
            assert!(
                matches!(error, AuthError::MalformedQuery(_)),
                "{from} {to}: {error:?}"
            );
        }
        assert_eq!(
            put(&query.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")),
            AuthError::NotImplemented
        );
        assert_eq!(
            put(&format!("{query}&X-Amz-Security-Token=t")),
            AuthError::InvalidToken
        );
        assert_eq!(
            put("AWSAccessKeyId=a&Expires=1&Signature=b"),
            AuthError::SignatureVersion2
        );
        assert!(matches!(
            put(&query.replace("partNumber=1", "partNumber=2")),
            AuthError::SignatureDoesNotMatch { .. }
        ));
        assert!(matches!(
            put(&query.replace("X-Amz-Expires=60", "X-Amz-Expires=61")),
            AuthError::SignatureDoesNotMatch { .. }
        ));
        assert!(matches!(
            put(&query.replace(ACCESS, "NOBODY")),
            AuthError::InvalidAccessKeyId { .. }
        ));
        let other = with(host, "x-amz-acl", "public-read");
        assert_eq!(
            check("PUT", "/b/k", &query, &other, NOW).unwrap_err(),
            AuthError::UnsignedHeader("x-amz-acl".to_owned())
        );
    }

    #[test]
    fn presigned_payloads() {
        let host = headers(&[("host", "h")]);
        let query = presigned(60);
        let payload = |map: &HeaderMap, query: &str| {
            check("PUT", "/b/k", query, map, NOW).map(Verified::into_payload)
        };
        // An unsigned header says how the body comes; the signature covers UNSIGNED-PAYLOAD.
        let hashed = with(host.clone(), "x-amz-content-sha256", EMPTY);
        assert!(matches!(payload(&hashed, &query), Ok(Payload::Signed(_))));
        let streaming = with(
            host.clone(),
            "x-amz-content-sha256",
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        );
        assert!(matches!(
            payload(&streaming, &query),
            Ok(Payload::Chunked {
                signed: None,
                trailer: true
            })
        ));
        // A signed header is covered by its value. The signer itself always covers UNSIGNED-PAYLOAD.
        let signed_header = with(host.clone(), "x-amz-content-sha256", "UNSIGNED-PAYLOAD");
        let query = signer()
            .presign(&Method::PUT, "/b/k", "", &signed_header, 60, NOW)
            .unwrap();
        assert!(matches!(
            payload(&signed_header, &query),
            Ok(Payload::Unsigned)
        ));
        assert!(payload(&hashed, &query).is_err());
        // In the query it must say the same as in the header.
        let query = signer()
            .presign(
                &Method::PUT,
                "/b/k",
                "X-Amz-Content-Sha256=UNSIGNED-PAYLOAD",
                &host,
                60,
                NOW,
            )
            .unwrap();
        assert!(matches!(payload(&host, &query), Ok(Payload::Unsigned)));
        assert!(matches!(
            payload(&hashed, &query),
            Err(AuthError::InvalidContentSha256)
        ));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let secret = Secret::new(SECRET);
        let scope = Scope {
            date: "20130524".to_owned(),
            region: "us-east-1".to_owned(),
            service: "s3".to_owned(),
        };
        let key = SigningKey::derive(&secret, &scope);
        let printed = format!("{secret:?} {key:?} {:?}", signer());
        assert!(!printed.contains(SECRET) && !printed.contains(&SECRET[..8]));
        let error = edited("us-east-1", "eu-west-1");
        assert!(!format!("{error} {error:?}").contains(SECRET));
        let map = signed_get();
        assert!(map["authorization"].is_sensitive());
    }

    #[test]
    fn requests_that_cannot_be_signed() {
        use sealgate::auth::SignError;
        let mut map = HeaderMap::new();
        assert_eq!(
            signer()
                .sign(&Method::GET, "/", "", &mut map, EMPTY, NOW)
                .unwrap_err(),
            SignError::MissingHost
        );
        assert_eq!(
            signer()
                .presign(&Method::GET, "/", "", &map, 1, NOW)
                .unwrap_err(),
            SignError::MissingHost
        );
        let mut map = headers(&[("host", "h")]);
        assert_eq!(
            signer()
                .sign(&Method::GET, "/", "", &mut map, "a\nb", NOW)
                .unwrap_err(),
            SignError::InvalidValue
        );
        assert!(matches!(
            signer().sign(&Method::GET, "/%", "", &mut map, EMPTY, NOW),
            Err(SignError::Uri(_))
        ));
    }

    #[test]
    fn a_promised_checksum_must_come() {
        let map = headers(&[("x-amz-trailer", "x-amz-checksum-crc32")]);
        let expected = Expected::from_headers(&map, None).unwrap();
        let body = expected.hashes(false, None).finish();
        assert_eq!(
            expected.check(&body, &HeaderMap::new()),
            Err(ChecksumError::TrailerMismatch)
        );
    }
}
