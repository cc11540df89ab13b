//! Growth of objects in parts: many parts, and long ones. The store keeps the first 2 MiB of each part, so that an
//! object of 100 GiB fits into its memory; ranges are asked for from there.

use std::time::Duration;

use http::Method;
use sealgate::protocol::uri::percent_encode_into;
use serde_json::json;

use crate::growth::{Asker, Stage};
use crate::load::Size;
use crate::process::{Server, Setup};
use crate::report::{Digits, mib};
use crate::request::{self, PERIOD, Payload, Target, pattern};

/// Bytes of each of many parts.
const SMALL: u64 = 64 << 10;
/// Bytes of each part of a long object.
const LONG: u64 = 1 << 30;
/// Bytes of a range.
const RANGE: u64 = 64 << 10;
const BUCKET: &str = "opaque";

struct Uploaded {
    parts: Duration,
    parts_cpu: Duration,
    completion: Duration,
    completion_cpu: Duration,
}

/// Uploads an object in equal parts, one after the other.
async fn upload(gateway: &Server, key: &str, count: u32, size: u64) -> Uploaded {
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
    for number in 1..=count {
        let target = Target {
            query: &format!("partNumber={number}&uploadId={encoded}"),
            ..Target::object(gateway.address, BUCKET, key)
        };
        let (head, _, took) = asker
            .ask(&request::put(&target, size, Payload::Unsigned))
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

/// 64 KiB that begin in the middle of a segment, by a fresh gateway and once more.
async fn ranges(stage: &mut Stage, name: &str, key: &str, at: u64, within: u64) {
    let gateway = stage.setup.gateway(&stage.sink).await;
    let mut asker = Asker::new(gateway.address).await;
    for how in ["cold", "warm"] {
        let (asked, took) = range(stage, &mut asker, key, at, within).await;
        let took = took.as_secs_f64() * 1e3;
        let ranges: Vec<&str> = asked
            .iter()
            .filter_map(|line| line.rsplit(' ').next())
            .collect();
        println!(
            "| {name} | {how} | {} | {} | {} |",
            Digits(took),
            asked.len(),
            ranges.join(", ")
        );
        stage.lines.push(&json!({
            "kind": "growth", "what": "range", "object": name, "how": how, "ms": took, "asked": asked,
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
        let up = upload(&gateway, &key, count, SMALL).await;
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

/// Parts of 1 GiB, and ranges.
pub async fn long(stage: &mut Stage, sizes: &[Size]) {
    println!(
        "| object in parts of 1 GiB | CPU-s per GiB | MiB/s | MiB resident before | peak MiB | completion ms |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for size in sizes {
        let count = u32::try_from(size.0.div_ceil(LONG)).expect("at most 10,000 parts");
        let key = format!("keep/long-{}", size.0);
        let gateway = stage.setup.gateway(&stage.sink).await;
        upload(&gateway, "keep/long-warm", 2, 8 << 20).await;
        let idle = gateway.usage().rss;
        gateway.reset_peak();
        let up = upload(&gateway, &key, count, LONG).await;
        let peak = gateway.usage().peak;
        let cpu = up.parts_cpu.as_secs_f64() / f64::from(count);
        println!(
            "| {} | {} | {:.0} | {:.1} | {:.1} | {} |",
            Size(u64::from(count) * LONG),
            Digits(cpu),
            f64::from(count) * 1024.0 / up.parts.as_secs_f64(),
            mib(idle),
            mib(peak),
            Digits(up.completion.as_secs_f64() * 1e3),
        );
        stage.lines.push(&json!({
            "kind": "growth", "what": "long", "x": u64::from(count) * LONG, "cpu_s_per_gib": cpu,
            "idle_mib": mib(idle), "peak_mib": mib(peak),
        }));
    }
    println!("\n| range of 64 KiB out of | | ms | requests to the store | their ranges |");
    println!("| --- | --- | ---: | ---: | --- |");
    // In the middle of a segment: 64 KiB then lie in two of them.
    let within = (1 << 20) + 4_321;
    let whole = Size(256 << 20);
    let gateway = stage.setup.gateway(&stage.sink).await;
    let key = "keep/range";
    let target = Target::object(gateway.address, BUCKET, key);
    let request = request::put(&target, whole.0, Payload::Unsigned);
    Asker::new(gateway.address).await.ask(&request).await;
    drop(gateway);
    ranges(stage, &format!("{whole}, one PUT"), key, within, within).await;
    for size in sizes {
        let count = size.0.div_ceil(LONG);
        let key = format!("keep/long-{}", size.0);
        let name = format!("{}, {count} parts", Size(count * LONG));
        ranges(stage, &name, &key, count / 2 * LONG + within, within).await;
    }
}
