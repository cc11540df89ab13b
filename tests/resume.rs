//! Transfers that outlive their connections: a store that cuts them, stalls, or changes the object meanwhile, and
//! clients that take their time.

#![cfg(feature = "embedded")]
#![forbid(unsafe_code)]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Answer, Ask, Connection, Form, Reply, Seen, Stored, World, content, headers};
use http::{Method, StatusCode};
use sealgate::store::Request;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

const PREAMBLE: usize = 512;
const SEGMENT: usize = 65_536;
const FOOTER: usize = 256;
const LARGE: usize = 300_000;

fn is_suffix(seen: &Seen) -> bool {
    seen.header("range") == "bytes=-256"
}

/// Requests that were conditional on the object's ETag and asked for the end of something: resumptions.
fn resumed(world: &World) -> Vec<Seen> {
    let seen = world.spy.take();
    let ask_again = |seen: &Seen| {
        seen.method == "GET" && !seen.header("if-match").is_empty() && !is_suffix(seen)
    };
    seen.into_iter().filter(ask_again).collect()
}

fn count(world: &World, result: &str) -> u64 {
    world.metric("sealgate_store_resumptions_total", Some(("result", result)))
}

/// From now on, the answers that carry bytes of objects break at these offsets within the object, one after the other.
fn cut_at(world: &World, cuts: &[usize]) {
    let mut cuts = cuts.to_vec();
    cuts.reverse();
    world.spy.lie(move |seen, reply| {
        // Tags are read as a document, not as an object.
        let object = seen.method == "GET" && !is_suffix(seen) && !seen.target.contains("tagging");
        let carries = object && reply.status.is_success();
        match cuts.last() {
            Some(cut)
                if carries && (reply.offset()..reply.offset() + reply.body.len()).contains(cut) =>
            {
                let cut = *cut;
                cuts.pop();
                reply.cut(cut)
            }
            _ => reply.encode(),
        }
    });
}

fn whole(answer: &Answer, plain: &[u8], what: &str) {
    assert!(answer.status.is_success(), "{what}: {answer:?}");
    assert!(answer.complete, "{what}: {} bytes", answer.body.len());
    assert!(answer.body == plain, "{what}: other bytes");
}

#[tokio::test]
async fn wherever_a_body_is_cut_the_client_gets_all_of_it() {
    let plain = content(LARGE);
    let world = World::with_bucket().await;
    world.put("key", &plain).await;
    let stored = world.stored("bucket", "key").await.unwrap().body.len();
    let mut cuts = vec![
        0,
        1,
        PREAMBLE,
        PREAMBLE + 56,
        stored - FOOTER,
        stored - 100,
        stored - 1,
    ];
    for segment in [1, 3, 4] {
        let end = PREAMBLE + segment * SEGMENT;
        cuts.extend([end - 1, end, end + 1]);
    }
    // And anywhere.
    cuts.extend((1..12).map(|n| n * 7_919_777 % stored));
    for (done, cut) in cuts.into_iter().enumerate() {
        world.spy.take();
        cut_at(&world, &[cut]);
        let answer = world.get("key").await;
        whole(&answer, &plain, &format!("cut at {cut}"));
        let asked = resumed(&world);
        assert_eq!(asked.len(), 1, "cut at {cut}");
        assert_eq!(
            asked[0].header("range"),
            format!("bytes={cut}-{}", stored - 1)
        );
        assert_eq!(count(&world, "resumed"), done as u64 + 1);
        assert_eq!(
            world.log_line(answer.request_id()).await["transfer"],
            "complete"
        );
    }
    assert_eq!(count(&world, "given_up"), 0);
    assert_eq!(world.all_integrity_failures(), 0);
    assert_eq!(world.metric("sealgate_store_errors_total", None), 0);
}

#[tokio::test]
async fn bytes_are_counted_once() {
    let world = World::with_bucket().await;
    world.put("key", &content(LARGE)).await;
    let out = |world: &World| {
        let bytes = |side| world.metric("sealgate_bytes_total", Some(("side", side)));
        (bytes("store"), bytes("client"))
    };
    let read = async || {
        let before = out(&world);
        let answer = world.get("key").await;
        world.log_line(answer.request_id()).await;
        let after = out(&world);
        (after.0 - before.0, after.1 - before.1)
    };
    let honest = read().await;
    cut_at(&world, &[70_000, 140_000, 200_000]);
    assert_eq!(read().await, honest);
}

#[tokio::test]
async fn many_cuts_in_one_transfer_and_ranges() {
    let plain = content(LARGE);
    let world = World::with_bucket().await;
    world.put("key", &plain).await;
    let stored = world.stored("bucket", "key").await.unwrap().body.len();
    cut_at(
        &world,
        &[
            0,
            300,
            66_048,
            66_049,
            150_000,
            250_000,
            stored - 200,
            stored - 1,
        ],
    );
    whole(&world.get("key").await, &plain, "eight cuts");
    assert_eq!(count(&world, "resumed"), 8);

    for (first, last) in [
        (0, LARGE - 1),
        (70_000, 70_009),
        (65_000, 200_000),
        (LARGE - 1, LARGE - 1),
    ] {
        // Within the stored range that the gateway asks for, at its ends and in between.
        let ask = || Ask::get("bucket", "key").header("range", &format!("bytes={first}-{last}"));
        let seen = Arc::<Mutex<(usize, usize)>>::default();
        let noted = seen.clone();
        world.spy.lie(move |seen, reply| {
            if !is_suffix(seen) {
                *noted.lock().unwrap() = (reply.offset(), reply.body.len());
            }
            reply.encode()
        });
        whole(&world.send(ask()).await, &plain[first..=last], "honest");
        let (start, len) = *seen.lock().unwrap();
        for cuts in [
            vec![start],
            vec![start + 1, start + len / 3, start + len / 2],
            vec![start + len - 1],
        ] {
            world.spy.take();
            let before = count(&world, "resumed");
            cut_at(&world, &cuts);
            whole(
                &world.send(ask()).await,
                &plain[first..=last],
                &format!("{first}-{last} cut at {cuts:?}"),
            );
            assert_eq!(count(&world, "resumed"), before + cuts.len() as u64);
            for asked in resumed(&world) {
                // Of the segments, or of the object's last bytes, which are read first.
                let ends = [start + len - 1, stored - 1].map(|end| format!("-{end}"));
                let range = asked.header("range");
                assert!(ends.iter().any(|end| range.ends_with(end)), "{asked:?}");
            }
        }
    }
    assert_eq!(count(&world, "given_up"), 0);
}

#[tokio::test]
async fn what_is_read_before_the_answer_begins_is_resumed_too() {
    let world = World::with("[]", r#"{"bucket": {"plaintext": "allow"}}"#).await;
    world.create("bucket").await;
    let (plain, small) = (content(LARGE), content(1000));
    world.put("large", &plain).await;
    world.put("small", &small).await;
    let unsealed = Stored {
        headers: headers(&[("content-type", "text/plain")]),
        body: plain.clone(),
    };
    world.plant("bucket", "unsealed", &unsealed).await;

    // The footer, for each request that reads it; a small object, which is read whole.
    let once = |world: &World| {
        let mut done = false;
        world.spy.lie(move |seen, reply| {
            if seen.method == "GET" && !done && reply.status.is_success() {
                done = true;
                let at = reply.offset() + reply.body.len() / 2;
                return reply.cut(at);
            }
            reply.encode()
        });
    };
    for (ask, body) in [
        (Ask::head("bucket", "large"), &[][..]),
        (Ask::get("bucket", "small"), &small),
        (Ask::get("bucket", "unsealed"), &plain),
        (Ask::get("bucket", "large"), &plain),
        (
            Ask::get("bucket", "unsealed").header("range", "bytes=5-99999"),
            &plain[5..100_000],
        ),
    ] {
        let before = count(&world, "resumed");
        once(&world);
        let what = format!("{} {}", ask.method, ask.path);
        whole(&world.send(ask).await, body, &what);
        assert_eq!(count(&world, "resumed"), before + 1, "{what}");
    }

    // What a copy reads to seal it.
    cut_at(&world, &[0, 5, 100_000, LARGE - 1]);
    let before = count(&world, "resumed");
    let answer = world.send(Ask::copy("bucket", "unsealed", "sealed")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(count(&world, "resumed"), before + 4);
    world.spy.be_honest();
    whole(&world.get("sealed").await, &plain, "the copy");
    assert!(world.stored("bucket", "sealed").await.unwrap().body != plain);
}

#[tokio::test]
async fn a_store_that_keeps_cutting_is_given_up() {
    let plain = content(LARGE);
    let world = World::with_bucket().await;
    world.put("key", &plain).await;
    let errors =
        |world: &World| world.metric("sealgate_store_errors_total", Some(("kind", "body")));
    tokio::time::pause();

    // At the same byte every time.
    world.spy.take();
    world.spy.lie(|seen, reply| {
        if is_suffix(seen) {
            reply.encode()
        } else {
            reply.cut(200_000)
        }
    });
    let answer = world.get("key").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(
        !answer.complete && answer.body.len() >= 2 * SEGMENT,
        "{}",
        answer.body.len()
    );
    assert!(plain.starts_with(&answer.body));
    assert_eq!(resumed(&world).len(), 5);
    assert_eq!((count(&world, "given_up"), errors(&world)), (1, 1));
    let line = world.log_line(answer.request_id()).await;
    assert_eq!(line["transfer"], "broken", "{line}");

    // A byte further every time.
    let steps = Arc::new(AtomicUsize::new(100_000));
    world.spy.lie(move |seen, reply| {
        if is_suffix(seen) {
            return reply.encode();
        }
        reply.cut(steps.fetch_add(1, Ordering::Relaxed))
    });
    let answer = world.get("key").await;
    assert!(!answer.complete && plain.starts_with(&answer.body));
    assert_eq!(resumed(&world).len(), 5);
    assert_eq!((count(&world, "given_up"), errors(&world)), (2, 2));

    // Nothing but heads.
    world.spy.lie(|seen, reply| {
        if is_suffix(seen) {
            reply.encode()
        } else {
            reply.cut(0)
        }
    });
    let answer = world.get("key").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    assert_eq!((count(&world, "given_up"), errors(&world)), (3, 3));

    // A segment further every time: it gets there, however often that is.
    let resumed_before = count(&world, "resumed");
    let plain = content(20 * SEGMENT);
    world.spy.be_honest();
    tokio::time::resume();
    world.put("long", &plain).await;
    tokio::time::pause();
    world.spy.lie(|seen, reply| {
        if is_suffix(seen) {
            reply.encode()
        } else {
            let at = reply.offset() + SEGMENT;
            reply.cut(at)
        }
    });
    whole(&world.get("long").await, &plain, "a segment at a time");
    assert_eq!(count(&world, "resumed"), resumed_before + 20);
    assert_eq!(count(&world, "given_up"), 3);
}

#[tokio::test]
async fn an_outage_is_ridden_out() {
    let plain = content(LARGE);
    let world = World::with_bucket().await;
    world.put("key", &plain).await;
    tokio::time::pause();
    // Cut once, then refuse in every way that passes.
    for status in [500, 502, 503, 504] {
        let mut left = 3;
        let mut begun = false;
        world.spy.lie(move |seen, mut reply| {
            if is_suffix(seen) {
                return reply.encode();
            }
            if !begun {
                begun = true;
                return reply.cut(100_000);
            }
            if left > 0 {
                left -= 1;
                reply.status = StatusCode::from_u16(status).unwrap();
                reply.body.clear();
                reply.fix_length();
            }
            reply.encode()
        });
        whole(&world.get("key").await, &plain, &status.to_string());
    }
    // A refusal that is no outage ends the transfer.
    let mut begun = false;
    world.spy.lie(move |seen, mut reply| {
        if is_suffix(seen) {
            return reply.encode();
        }
        if !std::mem::replace(&mut begun, true) {
            return reply.cut(100_000);
        }
        reply.status = StatusCode::FORBIDDEN;
        reply.body.clear();
        reply.fix_length();
        reply.encode()
    });
    world.spy.take();
    let answer = world.get("key").await;
    assert!(!answer.complete && plain.starts_with(&answer.body));
    assert_eq!(resumed(&world).len(), 1);
    assert_eq!(count(&world, "given_up"), 1);
}

#[tokio::test]
async fn an_object_that_changes_meanwhile_breaks_the_transfer() {
    let plain = content(LARGE);
    let other: Vec<u8> = plain.iter().map(|byte| !byte).collect();
    for deleted in [false, true] {
        let world = World::with_bucket().await;
        world.put("key", &plain).await;
        let old = world.stored("bucket", "key").await.unwrap();
        world.put("key", &other).await;
        let new = world.stored("bucket", "key").await.unwrap();
        world.plant("bucket", "key", &old).await;
        // The store's ETag of what is planted is that of its bytes: the old object is there again.
        world.spy.take();
        let connection = read_until_cut(&world, 200_000).await;
        if deleted {
            let gone = Request::object(Method::DELETE, "bucket", "key");
            world.store.send("Test", gone).await.unwrap();
        } else {
            world.plant("bucket", "key", &new).await;
        }
        connection.go_on.store(1, Ordering::Release);
        let answer = connection.answer.await.unwrap();
        assert!(!answer.complete, "deleted: {deleted}");
        assert!(plain.starts_with(&answer.body), "deleted: {deleted}");
        assert_eq!(count(&world, "given_up"), 1);
        assert_eq!(resumed(&world).len(), 1, "412 and 404 are final");
        let line = world.log_line(answer.request_id()).await;
        assert!(
            line["detail"].as_str().unwrap().contains("object changed"),
            "{line}"
        );
    }
}

struct Reading {
    answer: tokio::task::JoinHandle<Answer>,
    go_on: Arc<AtomicUsize>,
}

/// Begins to read `key`, breaks off the store's answer at `cut`, and lets no further request pass until told to.
async fn read_until_cut(world: &World, cut: usize) -> Reading {
    let go_on = Arc::new(AtomicUsize::new(0));
    let cut_now = Arc::new(AtomicUsize::new(0));
    let (noted, address) = (cut_now.clone(), world.address);
    let mut begun = false;
    world.spy.lie(move |seen, reply| {
        if is_suffix(seen) || std::mem::replace(&mut begun, true) {
            return reply.encode();
        }
        noted.store(1, Ordering::Release);
        reply.cut(cut)
    });
    let is_rest = |seen: &Seen| seen.header("range").starts_with("bytes=") && !is_suffix(seen);
    world.spy.gate(go_on.clone(), is_rest);
    let answer = tokio::spawn(async move {
        let mut connection = Connection::open(address).await;
        connection
            .exchange(&Ask::get("bucket", "key"), address)
            .await
    });
    // By then the footer has been read, and only the rest is missing.
    while cut_now.load(Ordering::Acquire) == 0 || !world.spy.has_seen(is_rest) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Reading { answer, go_on }
}

#[tokio::test]
async fn a_rest_that_is_not_what_was_asked_for_is_refused() {
    let plain = content(LARGE);
    let world = World::with_bucket().await;
    world.put("key", &plain).await;
    let stored = world.stored("bucket", "key").await.unwrap();
    world
        .put("other", &plain.iter().map(|byte| !byte).collect::<Vec<_>>())
        .await;
    let other = world.stored("bucket", "other").await.unwrap().body;
    const CUT: usize = 200_000;
    type Lie = Box<dyn Fn(&mut Reply) + Send + Sync>;
    let set = |name: &'static str, value: String| -> Lie {
        Box::new(move |reply| {
            reply.headers.insert(name, value.parse().unwrap());
        })
    };
    let end = stored.body.len() - 1;
    let total = stored.body.len();
    let (theirs, ours) = (other.clone(), stored.body.clone());
    // The lie, and whether it is found in the head already.
    let lies: Vec<(&str, Lie, bool)> = vec![
        (
            "another ETag",
            set("etag", "\"00000000000000000000000000000000\"".into()),
            true,
        ),
        (
            "no ETag",
            Box::new(|reply| {
                reply.headers.remove("etag");
            }),
            true,
        ),
        (
            "a later range",
            set("content-range", format!("bytes {}-{end}/{total}", CUT + 1)),
            true,
        ),
        (
            "an earlier range",
            set("content-range", format!("bytes {}-{end}/{total}", CUT - 1)),
            true,
        ),
        (
            "a range that ends early",
            set("content-range", format!("bytes {CUT}-{}/{total}", end - 1)),
            true,
        ),
        (
            "another total",
            set("content-range", format!("bytes {CUT}-{end}/{}", total + 1)),
            true,
        ),
        (
            "no range",
            Box::new(|reply| {
                reply.headers.remove("content-range");
            }),
            true,
        ),
        (
            "a range that is none",
            set("content-range", format!("bytes {CUT}-{}/{total}", u64::MAX)),
            true,
        ),
        (
            "a length of its own",
            Box::new(|reply| {
                reply.body.pop();
                reply.fix_length();
            }),
            true,
        ),
        (
            "all of the object",
            Box::new(move |reply| {
                reply.status = StatusCode::OK;
                reply.headers.remove("content-range");
                reply.body.clone_from(&ours);
                reply.fix_length();
            }),
            true,
        ),
        (
            "the bytes of another object",
            Box::new(move |reply| {
                reply.body = theirs[CUT..].to_vec();
            }),
            false,
        ),
    ];
    let lies = Arc::new(lies);
    for n in 0..lies.len() {
        let (what, _, early) = &lies[n];
        let all = lies.clone();
        let mut begun = false;
        world.spy.lie(move |seen, mut reply| {
            if is_suffix(seen) {
                return reply.encode();
            }
            if !std::mem::replace(&mut begun, true) {
                return reply.cut(CUT);
            }
            (all[n].1)(&mut reply);
            reply.encode()
        });
        let before = (world.all_integrity_failures(), count(&world, "given_up"));
        let answer = world.get("key").await;
        world.log_line(answer.request_id()).await;
        assert!(!answer.complete, "{what}");
        assert!(plain.starts_with(&answer.body), "{what}: mixed bytes");
        let after = (world.all_integrity_failures(), count(&world, "given_up"));
        let expected = if *early {
            (before.0, before.1 + 1)
        } else {
            (before.0 + 1, before.1)
        };
        assert_eq!(after, expected, "{what}");
    }
}

/// Where the bucket keeps versions, the one that was begun is still there.
#[tokio::test]
async fn a_version_that_was_begun_is_finished() {
    let plain = content(LARGE);
    let world = World::with_bucket().await;
    world.put("key", &plain).await;
    let stored = world.stored("bucket", "key").await.unwrap().body;
    let mut begun = false;
    world.spy.lie(move |seen, mut reply| {
        if is_suffix(seen) {
            return reply.encode();
        }
        if !std::mem::replace(&mut begun, true) {
            reply
                .headers
                .insert("x-amz-version-id", "version-1".parse().unwrap());
            return reply.cut(100_000);
        }
        if seen.target.contains("versionId=version-1") {
            // The embedded store keeps no versions, so this answers in its place.
            let (at, end) = (100_000, stored.len());
            assert_eq!(seen.header("range"), format!("bytes={at}-{}", end - 1));
            let mut answer = reply.clone();
            answer.status = StatusCode::PARTIAL_CONTENT;
            answer
                .headers
                .insert("etag", seen.header("if-match").parse().unwrap());
            answer.headers.insert(
                "content-range",
                format!("bytes {at}-{}/{end}", end - 1).parse().unwrap(),
            );
            answer.body = stored[at..].to_vec();
            answer.fix_length();
            return answer.encode();
        }
        reply.status = StatusCode::PRECONDITION_FAILED;
        reply.body.clear();
        reply.fix_length();
        reply.encode()
    });
    whole(&world.get("key").await, &plain, "the version");
    assert_eq!(count(&world, "resumed"), 1);
}

#[tokio::test]
async fn a_store_that_stalls_is_asked_again() {
    let plain = content(LARGE);
    let world = World::with_settings(json!({"store": {"read_timeout": "1s"}})).await;
    world.create("bucket").await;
    world.put("key", &plain).await;
    world.spy.hold(Duration::from_secs(600));
    cut_at(&world, &[100_000]);
    whole(&world.get("key").await, &plain, "stalled");
    assert_eq!(count(&world, "resumed"), 1);
}

/// A world in which every limit on silence is short, and an object that fits no buffer on the way.
async fn hasty() -> (World, Vec<u8>) {
    let world = World::with_settings(json!({
        "server": {"idle_timeout": "1s", "header_timeout": "1s"},
        "store": {"read_timeout": "2s", "pool_idle_timeout": "1s"},
        "buckets": {"bucket": {"etag": "opaque"}},
    }))
    .await;
    world.create("bucket").await;
    let plain = content(32 * 1024 * 1024);
    let put = Ask::put("bucket", "key", &plain).form(Form::Literal("UNSIGNED-PAYLOAD".into()));
    assert_eq!(world.send(put).await.status, StatusCode::OK);
    (world, plain)
}

#[tokio::test]
async fn a_client_may_pause_for_as_long_as_it_likes() {
    let (world, plain) = hasty().await;
    world.spy.cut_idle(Duration::from_millis(500));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let mut socket = socket.connect(world.address).await.unwrap();
    let (head, _) = Ask::get("bucket", "key").encode(world.address);
    socket.write_all(&head).await.unwrap();

    // Twice: at the beginning, and in the middle.
    let mut got = Vec::new();
    for (pause, upto) in [(1, 12 * 1024 * 1024), (2, usize::MAX)] {
        while world.spy.idle_cuts() < pause {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        let mut chunk = vec![0; 256 * 1024];
        while got.len() < upto {
            let n = socket.read(&mut chunk).await.unwrap();
            got.extend_from_slice(&chunk[..n]);
            let head = got.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            assert!(
                n > 0 || got.len() == head + plain.len(),
                "broken after {}",
                got.len()
            );
            if got.len() == head + plain.len() {
                break;
            }
        }
    }
    let head = got.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert!(got[head..] == plain[..], "other bytes");
    assert!(count(&world, "resumed") >= 2);
    assert_eq!(count(&world, "given_up"), 0);
}

#[tokio::test]
async fn slow_clients_get_and_put_everything() {
    let (world, plain) = hasty().await;
    let size = 2 * 1024 * 1024;
    let began = Instant::now();

    // A download in sips.
    let mut connection = Connection::open(world.address).await;
    let ask = Ask::get("bucket", "key").header("range", &format!("bytes=0-{}", size - 1));
    let (head, _) = ask.encode(world.address);
    connection.write(&head).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let answer = connection.answer(&Method::GET).await;
    whole(&answer, &plain[..size], "sipped");

    // An upload that never pauses for a second and takes longer than any limit.
    let put = Ask::put("bucket", "slow", &plain[..size]);
    let (head, body) = put.encode(world.address);
    let mut connection = Connection::open(world.address).await;
    connection.write(&head).await;
    for piece in body.chunks(size / 16 + 1) {
        tokio::time::sleep(Duration::from_millis(300)).await;
        connection.write(piece).await;
    }
    let answer = connection.answer(&Method::PUT).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert!(began.elapsed() > Duration::from_secs(7));
    whole(&world.get("slow").await, &plain[..size], "uploaded slowly");
}
