//! Growth of objects in parts: many parts, and long ones. Of long ones the store keeps no more than the first 2 MiB of each
//! part that goes up; what comes down, whole or in ranges, it makes up as it is read.

use std::time::Duration;

use http::Method;
use sealgate::aead::SegmentSize;
use sealgate::protocol::uri::percent_encode_into;
use serde_json::json;

use crate::growth::{Asker, Stage};
use crate::load::{Direction, Size, Until};
use crate::made::Recipe;
use crate::process::{Server, Setup};
use crate::report::{Digits, median, mib};
use crate::request::{self, PERIOD, Payload, Target, pattern};

/// Bytes of each of many parts.
const SMALL: u64 = 64 << 10;
/// Bytes of each part of a long object.
pub const LONG: u64 = 1 << 30;
/// The longest object that one PUT takes.
const PUT: u64 = 5 << 30;
/// How often ranges are read.
const ROUNDS: usize = 5;
/// Bytes of a range.
const RANGE: u64 = 64 << 10;
/// The bucket with opaque ETags.
pub const BUCKET: &str = "opaque";

/// What an upload took.
pub struct Uploaded {
    /// From the first part to the last, and the gateway's processor time meanwhile.
    pub parts: Duration,
    /// See `parts`.
    pub parts_cpu: Duration,
    completion: Duration,
    completion_cpu: Duration,
}

/// Uploads an object in parts of one size, but for the last, one after the other.
pub async fn upload(gateway: &Server, key: &str, size: u64, part: u64) -> Uploaded {
    let mut asker = Asker::new(gateway.address).await;
    let target = Target {
        query: "uploads=",
        ..Target::object(gateway.address, BUCKET, key)
    };
    let request = request::simple(&Method::POST, &target, None, b"");
    let (_, body, _) = asker.ask(&request).await;
    let text = String::from_utf8_lossy(&body);
    let id = text.split("<UploadId>").nth(1).expect("an upload id");
    let id = id.split('<').next().unwrap_or_default();
    let mut encoded = String::new();
    percent_encode_into(&mut encoded, id.as_bytes(), false);
    let before = gateway.cpu();
    let mut parts = Duration::ZERO;
    let mut document = String::from("<CompleteMultipartUpload>");
    for number in 1..=size.div_ceil(part) {
        let length = part.min(size - (number - 1) * part);
        let target = Target {
            query: &format!("partNumber={number}&uploadId={encoded}"),
            ..Target::object(gateway.address, BUCKET, key)
        };
        let (head, _, took) = asker
            .ask(&request::put(&target, length, Payload::Unsigned))
            .await;
        parts += took;
        let etag = head.header("etag").expect("an ETag");
        document.push_str(&format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        ));
    }
    document.push_str("</CompleteMultipartUpload>");
    let between = gateway.cpu();
    let target = Target {
        query: &format!("uploadId={encoded}"),
        ..Target::object(gateway.address, BUCKET, key)
    };
    let request = request::simple(&Method::POST, &target, None, document.as_bytes());
    let (_, body, completion) = asker.ask(&request).await;
    let text = String::from_utf8_lossy(&body);
    assert!(text.contains("CompleteMultipartUploadResult"), "{text}");
    Uploaded {
        parts,
        parts_cpu: between - before,
        completion,
        completion_cpu: gateway.cpu() - between,
    }
}

/// Reads a range through a connection, checks it, and tells what the store was asked, and how long it took.
async fn range(
    stage: &Stage,
    asker: &mut Asker,
    key: &str,
    at: u64,
    within: u64,
) -> (Vec<String>, Duration) {
    let target = Target::object(asker.server, BUCKET, key);
    let range = format!("bytes={at}-{}", at + RANGE - 1);
    let request = request::simple(&Method::GET, &target, Some(&range), b"");
    stage.log().await;
    let (_, body, took) = asker.ask(&request).await;
    let from = (within % PERIOD as u64) as usize;
    assert!(
        body == pattern()[from..from + RANGE as usize],
        "wrong bytes"
    );
    (stage.log().await, took)
}

/// What a range took, and what it made the gateway ask for.
#[derive(Default)]
struct Ranged {
    times: Vec<f64>,
    asked: Vec<String>,
}

impl Ranged {
    /// Of each request to the store the range.
    fn ranges(&self) -> Vec<&str> {
        let lines = self.asked.iter();
        lines.filter_map(|line| line.rsplit(' ').next()).collect()
    }

    /// Segments that were fetched. The end of an object is none, and those of a part table are too short to count.
    fn segments(&self) -> u64 {
        let segments = |range: &str| {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            Some((last + 1 - first) / u64::from(SegmentSize::GATEWAY.get()))
        };
        self.ranges().into_iter().filter_map(segments).sum()
    }
}

/// 64 KiB that begin at `at`, by a fresh gateway and once more, some times over.
async fn ranges(stage: &mut Stage, name: &str, key: &str, at: u64) {
    let mut found = [Ranged::default(), Ranged::default()];
    for _ in 0..ROUNDS {
        let gateway = stage.setup.gateway(&stage.sink).await;
        let mut asker = Asker::new(gateway.address).await;
        for ranged in &mut found {
            let (asked, took) = range(stage, &mut asker, key, at, at).await;
            ranged.times.push(took.as_secs_f64() * 1e3);
            ranged.asked = asked;
        }
    }
    for (how, ranged) in ["cold", "warm"].into_iter().zip(found) {
        let (ms, segments) = (median(ranged.times.clone()), ranged.segments());
        println!(
            "| {name} | {how} | {} | {} | {segments} | {} |",
            Digits(ms),
            ranged.asked.len(),
            ranged.ranges().join(", ")
        );
        stage.lines.push(&json!({
            "kind": "growth", "what": "range", "object": name, "how": how, "ms": ms, "segments": segments,
            "asked": ranged.asked,
        }));
    }
}

/// Many small parts.
pub async fn parts(stage: &mut Stage, counts: &[u32]) {
    println!(
        "| parts of 64 KiB | CPU µs per part | completion ms | its CPU ms | range of 64 KiB, cold, ms | requests to the store | warm ms | requests | peak MiB |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let setup = Setup {
        more: "multipart: {min_part_size: 1B}\n".to_owned(),
        ..stage.setup.clone()
    };
    for &count in counts {
        let key = format!("keep/parts-{count}");
        let gateway = setup.gateway(&stage.sink).await;
        let up = upload(&gateway, &key, u64::from(count) * SMALL, SMALL).await;
        let peak = gateway.usage().peak;
        drop(gateway);
        let gateway = setup.gateway(&stage.sink).await;
        let mut asker = Asker::new(gateway.address).await;
        let at = u64::from(count / 2) * SMALL;
        let (cold, cold_took) = range(stage, &mut asker, &key, at, 0).await;
        let (warm, warm_took) = range(stage, &mut asker, &key, at, 0).await;
        let micros = up.parts_cpu.as_secs_f64() * 1e6 / f64::from(count);
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "| {count} | {} | {} | {} | {} | {} | {} | {} | {:.1} |",
            Digits(micros),
            Digits(milliseconds(up.completion)),
            Digits(milliseconds(up.completion_cpu)),
            Digits(milliseconds(cold_took)),
            cold.len(),
            Digits(milliseconds(warm_took)),
            warm.len(),
            mib(peak),
        );
        stage.lines.push(&json!({
            "kind": "growth", "what": "parts", "x": count, "us_per_part": micros,
            "completion_ms": milliseconds(up.completion), "completion_cpu_ms": milliseconds(up.completion_cpu),
            "range_cold_ms": milliseconds(cold_took), "range_cold_requests": cold.len(),
            "range_warm_ms": milliseconds(warm_took), "range_warm_requests": warm.len(), "peak_mib": mib(peak),
        }));
    }
}

/// An object in parts of 1 GiB, up and down.
pub async fn long(stage: &mut Stage, sizes: &[Size]) {
    println!(
        "| object in parts of 1 GiB | | CPU-s per GiB | MiB/s | MiB resident before | peak MiB | completion ms |"
    );
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: |");
    for &size in sizes {
        for direction in [Direction::Up, Direction::Down] {
            let gateway = stage.warm().await;
            let idle = gateway.usage().rss;
            gateway.reset_peak();
            let (cpu, took, completion) = match direction {
                Direction::Up => {
                    let key = format!("keep/long-{}", size.0);
                    let up = upload(&gateway, &key, size.0, LONG).await;
                    (up.parts_cpu, up.parts, up.completion.as_secs_f64() * 1e3)
                }
                Direction::Down => {
                    let mut job = stage.job(&gateway, direction, size.0, 1);
                    job.key = Recipe::key(size.0, Some(LONG));
                    let outcome = stage.measure(&gateway, &job, Until::Requests(1)).await;
                    (outcome.cpu, outcome.wall, f64::NAN)
                }
            };
            let peak = gateway.usage().peak;
            let gib = size.0 as f64 / f64::from(1 << 30);
            let cpu = cpu.as_secs_f64() / gib;
            println!(
                "| {size} | {direction} | {} | {:.0} | {:.1} | {:.1} | {} |",
                Digits(cpu),
                gib * 1024.0 / took.as_secs_f64(),
                mib(idle),
                mib(peak),
                Digits(completion),
            );
            stage.lines.push(&json!({
                "kind": "growth", "what": "long", "x": size.0, "direction": direction.to_string(), "cpu_s_per_gib": cpu,
                "idle_mib": mib(idle), "peak_mib": mib(peak),
            }));
        }
    }
}

/// 64 KiB out of the middle of objects of one stream and of objects in parts.
pub async fn ranges_of(stage: &mut Stage, sizes: &[Size]) {
    println!("| range of 64 KiB out of | | ms | requests to the store | segments | their ranges |");
    println!("| --- | --- | ---: | ---: | ---: | --- |");
    for size in sizes {
        assert!(
            size.0 >= 4 << 20,
            "ranges are read from objects of 4 MiB and more"
        );
        let part = (size.0 > PUT).then_some(LONG);
        let name = match part {
            None => format!("{size}, one PUT"),
            Some(part) => format!("{size}, {} parts", size.0.div_ceil(part)),
        };
        // In the middle of a segment: 64 KiB then lie in two of them.
        let at = size.0 / 2 + (1 << 20) + 4_321;
        ranges(stage, &name, &Recipe::key(size.0, part), at).await;
    }
}
