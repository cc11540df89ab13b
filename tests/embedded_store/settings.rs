//! Tags of objects, and the CORS rules of buckets.

use aws_sdk_s3::types::{
    CorsConfiguration, CorsRule, MetadataDirective, Tag, Tagging, TaggingDirective,
};

use super::*;

fn tagging(tags: &[(&str, &str)]) -> Tagging {
    let tags = tags
        .iter()
        .map(|(key, value)| Tag::builder().key(*key).value(*value).build().unwrap())
        .collect();
    Tagging::builder().set_tag_set(Some(tags)).build().unwrap()
}

async fn tags(client: &Client, key: &str) -> Vec<(String, String)> {
    let answer = client.get_object_tagging().bucket("bucket").key(key);
    let answer = answer.send().await.unwrap();
    answer
        .tag_set()
        .iter()
        .map(|tag| (tag.key().to_owned(), tag.value().to_owned()))
        .collect()
}

fn pairs(tags: &[(&str, &str)]) -> Vec<(String, String)> {
    tags.iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[tokio::test]
async fn tags_stay_with_their_object() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, client) = serve(folder.path()).await;
    let bucket = client.create_bucket().bucket("bucket");
    bucket.send().await.unwrap();
    let put = client.put_object().bucket("bucket").key("key");
    let put = put.tagging("a=1&b%20c=%26").send().await.unwrap();
    assert_eq!(
        tags(&client, "key").await,
        pairs(&[("a", "1"), ("b c", "&")])
    );
    let got = client.get_object().bucket("bucket").key("key");
    assert_eq!(got.send().await.unwrap().tag_count(), Some(2));

    let retag = |tags: &[(&str, &str)]| {
        let request = client.put_object_tagging().bucket("bucket").key("key");
        request.tagging(tagging(tags)).send()
    };
    retag(&[("new", "")]).await.unwrap();
    let twice = retag(&[("same", "1"), ("same", "2")]).await.unwrap_err();
    assert_eq!(twice.code(), Some("InvalidTag"));
    handle.shutdown().await;

    let (_handle, client) = serve(folder.path()).await;
    assert_eq!(tags(&client, "key").await, pairs(&[("new", "")]));
    let copy = |target: &str, directive: TaggingDirective| {
        client
            .copy_object()
            .bucket("bucket")
            .key(target)
            .copy_source("bucket/key")
            .metadata_directive(MetadataDirective::Copy)
            .tagging_directive(directive)
            .tagging("other=1")
            .send()
    };
    copy("kept", TaggingDirective::Copy).await.unwrap();
    copy("replaced", TaggingDirective::Replace).await.unwrap();
    assert_eq!(tags(&client, "kept").await, pairs(&[("new", "")]));
    assert_eq!(tags(&client, "replaced").await, pairs(&[("other", "1")]));

    let removal = client.delete_object_tagging().bucket("bucket").key("key");
    removal.send().await.unwrap();
    assert_eq!(tags(&client, "key").await, []);
    let head = client.head_object().bucket("bucket").key("key");
    assert_eq!(head.send().await.unwrap().e_tag(), put.e_tag());
    let missing = client.put_object_tagging().bucket("bucket").key("none");
    let missing = missing.tagging(tagging(&[])).send().await.unwrap_err();
    assert_eq!(missing.code(), Some("NoSuchKey"));
}

#[tokio::test]
async fn cors_rules_stay_with_their_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, client) = serve(folder.path()).await;
    let bucket = client.create_bucket().bucket("bucket");
    bucket.send().await.unwrap();
    let get = || client.get_bucket_cors().bucket("bucket").send();
    let unset = get().await.unwrap_err();
    assert_eq!(unset.code(), Some("NoSuchCORSConfiguration"));
    let rule = |origin: &str, method: &str| {
        CorsRule::builder()
            .id("rule")
            .allowed_origins(origin)
            .allowed_methods(method)
            .allowed_headers("x-amz-*")
            .expose_headers("etag")
            .max_age_seconds(60)
            .build()
            .unwrap()
    };
    let put = |rule: CorsRule| {
        let rules = CorsConfiguration::builder().cors_rules(rule);
        let request = client.put_bucket_cors().bucket("bucket");
        request.cors_configuration(rules.build().unwrap()).send()
    };
    let wanted = rule("https://*.example.com", "PUT");
    put(wanted.clone()).await.unwrap();
    for wrong in [rule("*", "PATCH"), rule("*.*", "GET")] {
        let refused = put(wrong).await.unwrap_err();
        assert_eq!(refused.code(), Some("InvalidRequest"));
    }
    assert_eq!(
        get().await.unwrap().cors_rules(),
        std::slice::from_ref(&wanted)
    );
    handle.shutdown().await;

    let (_handle, client) = serve(folder.path()).await;
    let get = || client.get_bucket_cors().bucket("bucket").send();
    assert_eq!(get().await.unwrap().cors_rules(), [wanted]);
    let removal = client.delete_bucket_cors().bucket("bucket");
    removal.send().await.unwrap();
    assert!(get().await.is_err());
    // A new bucket of an old name begins anew.
    let removal = client.delete_bucket().bucket("bucket");
    removal.send().await.unwrap();
    let absent = get().await.unwrap_err();
    assert_eq!(absent.code(), Some("NoSuchBucket"));
}
