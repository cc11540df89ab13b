use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use proptest::prelude::*;

use super::*;
use crate::digest::tests::{self, Known};

fn oracle(data: &[u8]) -> [u8; 16] {
    Rfc1321::oracle(data)
}

/// MD5, which pays for any number of streams.
fn md5_lanes() -> Arc<Lanes<Rfc1321>> {
    Lanes::new(Backend::detect())
}

fn noise(seed: u64, length: usize) -> Bytes {
    tests::noise(seed, length).into()
}

/// Hashes `data` in pieces, as a body does. Between pieces others get their turn where `pauses` says so.
async fn hash<F: Laned>(
    lanes: Arc<Lanes<F>>,
    data: Bytes,
    mut cuts: impl Iterator<Item = usize>,
    mut pauses: impl Iterator<Item = bool>,
) -> F::Digest {
    let mut stream = lanes.stream(Some(data.len() as u64));
    let mut rest = data;
    while !rest.is_empty() {
        poll_fn(|cx| stream.poll_ready(cx)).await.unwrap();
        let piece = rest.split_to(cuts.next().unwrap_or(usize::MAX).clamp(1, rest.len()));
        stream.push(&piece);
        if pauses.next() == Some(true) {
            tokio::task::yield_now().await;
        }
    }
    poll_fn(|cx| stream.poll_finish(cx)).await.unwrap()
}

/// As many pieces of 64 KiB as there are.
async fn whole<F: Laned>(lanes: Arc<Lanes<F>>, data: Bytes) -> F::Digest {
    hash(
        lanes,
        data,
        std::iter::repeat(64 * 1024),
        std::iter::repeat(false),
    )
    .await
}

/// Nothing is left behind once all streams have gone.
fn assert_empty<F: Laned>(lanes: &Lanes<F>) {
    assert_eq!(lanes.queue.streams(), 0);
    assert_eq!(lanes.queue.bytes(), 0);
    assert_eq!(lanes.queue.waiters(), 0);
}

fn poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
    Pin::new(future).poll(&mut Context::from_waker(std::task::Waker::noop()))
}

/// A waker that counts.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

const LONG: u64 = 1 << 40;

fn alone<F: Laned + Known>() {
    for backend in Backend::all() {
        let lanes = Lanes::<F>::new(backend);
        let mut stream = lanes.stream(Some(LONG));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let data = noise(1, 1_000_000);
        for piece in data.chunks(40_000) {
            assert!(stream.poll_ready(&mut cx).is_ready());
            stream.push(&data.slice_ref(piece));
            assert!(lanes.queue.bytes() <= STREAM_BYTES + 40_000, "{backend:?}");
        }
        // A batch ends after its share.
        let mut polls = 1;
        let digest = loop {
            match stream.poll_finish(&mut cx) {
                Poll::Ready(digest) => break digest.unwrap(),
                Poll::Pending => polls += 1,
            }
        };
        assert!(polls <= 2, "{backend:?}: {polls}");
        assert_eq!(digest, F::oracle(&data));
        let again = stream.poll_finish(&mut cx);
        assert!(matches!(again, Poll::Ready(Ok(again)) if again == digest));
        drop(stream);
        assert_empty(&lanes);
    }
}

#[test]
fn a_single_stream_waits_for_nobody() {
    alone::<Rfc1321>();
    alone::<Fips180>();
}

#[test]
fn streams_too_few_to_pay_do_not_wait_for_each_other() {
    for backend in Backend::all() {
        let lanes = Lanes::<Fips180>::new(backend);
        let count = backend.pays::<Fips180>() - 1;
        let data = noise(1, 64 * 1024);
        let mut streams: Vec<_> = (0..count).map(|_| lanes.stream(Some(LONG))).collect();
        for stream in &mut streams {
            stream.push(&data);
            assert_eq!(lanes.queue.bytes(), 0, "{backend:?}");
        }
        for mut stream in streams {
            let digest = futures::executor::block_on(poll_fn(|cx| stream.poll_finish(cx)));
            assert_eq!(digest.unwrap(), Fips180::oracle(&data), "{backend:?}");
        }
    }
}

#[test]
fn whoever_fills_the_batch_runs_it_and_wakes_the_others() {
    for backend in Backend::all() {
        let lanes = Lanes::<Rfc1321>::new(backend);
        let count = backend.lanes::<Rfc1321>();
        if count == 1 {
            continue;
        }
        let data: Vec<_> = (0..count).map(|n| noise(n as u64, 96 * 1024)).collect();
        let mut streams: Vec<_> = data.iter().map(|_| lanes.stream(Some(LONG))).collect();
        for (n, (md5, data)) in streams.iter_mut().zip(&data).enumerate() {
            assert_eq!(lanes.queue.bytes(), n * 32 * 1024);
            md5.push(&data.slice(..32 * 1024));
        }
        assert_eq!(lanes.queue.bytes(), 0, "the last one ran the batch");
        let woken = Arc::new(Woken::default());
        let waker = Arc::clone(&woken).into();
        let mut cx = Context::from_waker(&waker);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let _guard = runtime.enter();
        let last = count - 1;
        for (md5, data) in streams.iter_mut().zip(&data).take(last) {
            md5.push(&data.slice(32 * 1024..));
            assert!(md5.poll_finish(&mut cx).is_pending(), "too few");
        }
        assert_eq!(lanes.queue.bytes(), last * 64 * 1024);
        assert_eq!(woken.0.load(Ordering::SeqCst), 0);
        streams[last].push(&data[last].slice(32 * 1024..));
        assert_eq!(lanes.queue.bytes(), 0);
        assert_eq!(woken.0.load(Ordering::SeqCst), last);
        for (md5, data) in streams.iter_mut().zip(&data) {
            let Poll::Ready(Ok(digest)) = md5.poll_finish(&mut cx) else {
                panic!("waits");
            };
            assert_eq!(digest, oracle(data), "{backend:?}");
        }
        drop(streams);
        assert_empty(&lanes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_stream_is_waited_for_once() {
    let lanes = md5_lanes();
    let mut stalled = lanes.stream(Some(LONG));
    stalled.push(&noise(9, 64 * 1024));
    let began = tokio::time::Instant::now();
    let data = noise(1, 2 << 20);
    assert_eq!(whole(lanes.clone(), data.clone()).await, oracle(&data));
    assert!(began.elapsed() <= PATIENCE * 2, "{:?}", began.elapsed());
    // It comes back, and others are there for it.
    stalled.push(&noise(10, 64 * 1024));
    let digest = poll_fn(|cx| stalled.poll_finish(cx)).await.unwrap();
    assert_eq!(
        digest,
        oracle(&[noise(9, 64 * 1024), noise(10, 64 * 1024)].concat())
    );
    drop(stalled);
    assert_empty(&lanes);
}

#[tokio::test(start_paused = true)]
async fn a_slow_stream_hardly_holds_up_a_fast_one() {
    let lanes = md5_lanes();
    let mut slow = lanes.stream(Some(LONG));
    let began = tokio::time::Instant::now();
    let mut fast = lanes.stream(Some(LONG));
    let piece = noise(1, 16 * 1024);
    // A hundred times as fast.
    for n in 0..4000 {
        if n % 100 == 0 {
            slow.push(&piece);
        }
        poll_fn(|cx| fast.poll_ready(cx)).await.unwrap();
        fast.push(&piece);
    }
    poll_fn(|cx| fast.poll_finish(cx)).await.unwrap();
    // Waited for again after 4, 12, 20, … pieces of its forty.
    assert!(began.elapsed() <= PATIENCE * 10, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_where_nothing_is_hashed() {
    let lanes = md5_lanes();
    // Two that take part, one of which then brings nothing more.
    let mut other = lanes.stream(Some(LONG));
    other.push(&noise(1, 64 * 1024));
    let mut md5 = lanes.stream(Some(LONG));
    md5.push(&noise(2, 64 * 1024));
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut left = 0;
    while md5.poll_ready(&mut cx).is_ready() {
        md5.push(&noise(3, 64 * 1024));
        left += 64 * 1024;
        assert!(left <= STREAM_BYTES);
    }
    assert_eq!(lanes.queue.bytes(), STREAM_BYTES);
    drop(md5);
    assert_eq!(lanes.queue.bytes(), 0);
    // Crumbs count as more than they are.
    let mut md5 = lanes.stream(Some(LONG));
    let mut crumbs = 0;
    while md5.poll_ready(&mut cx).is_ready() {
        md5.push(&noise(3, 1));
        crumbs += 1;
        assert!(crumbs <= 16);
    }
}

#[test]
fn a_body_dropped_while_it_waits_leaves_nothing() {
    let lanes = md5_lanes();
    let data = noise(5, 64 * 1024);
    let mut keep = lanes.stream(Some(LONG));
    keep.push(&data);
    let mut dropped = lanes.stream(Some(LONG));
    dropped.push(&data);
    keep.push(&data);
    dropped.push(&data);
    dropped.push(&data);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let guard = runtime.enter();
    assert!(dropped.poll_finish(&mut cx).is_pending());
    drop(dropped);
    drop(guard);
    // Its place is another's now, and the one left is alone again.
    let mut other = lanes.stream(Some(LONG));
    other.push(&data);
    keep.push(&data);
    drop(other);
    let digest = futures::executor::block_on(poll_fn(|cx| keep.poll_finish(cx))).unwrap();
    assert_eq!(digest, oracle(&data.repeat(3)));
    drop(keep);
    assert_empty(&lanes);
}

/// A batch takes as many as it can get, while nobody waits for it.
#[test]
fn nobody_hurries_where_nobody_waits() {
    let lanes = md5_lanes();
    if Backend::detect().lanes::<Rfc1321>() < 4 {
        return;
    }
    let mut streams = [0, 1, 2].map(|_| lanes.stream(Some(LONG)));
    let data = noise(1, 32 * 1024);
    for _ in 0..7 {
        for md5 in &mut streams {
            md5.push(&data);
        }
    }
    assert_eq!(lanes.queue.bytes(), 3 * 7 * 32 * 1024);
    // The first one to wait finds the others ready.
    let mut cx = Context::from_waker(std::task::Waker::noop());
    streams[0].push(&data);
    assert!(streams[0].poll_ready(&mut cx).is_ready());
    // One batch of all three has run.
    assert_eq!(lanes.queue.bytes(), 22 * 32 * 1024 - 3 * BATCH_BYTES);
    for md5 in &mut streams {
        let digest = futures::executor::block_on(poll_fn(|cx| md5.poll_finish(cx)));
        assert!(digest.is_ok());
    }
    assert_eq!(lanes.queue.waiters(), 0);
}

/// Bodies end in odd places, and the end of one must not take others with it.
async fn odd_tails_of<F: Laned + Known>() {
    for backend in Backend::all() {
        let lanes = Lanes::<F>::new(backend);
        let mut tasks = Vec::new();
        for n in 0..40 {
            let data = noise(n, 20 * 1024 + n as usize * 37 + 1);
            let lanes = lanes.clone();
            tasks.push(tokio::spawn(async move {
                assert_eq!(whole(lanes, data.clone()).await, F::oracle(&data));
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_empty(&lanes);
    }
}

#[tokio::test]
async fn odd_tails() {
    odd_tails_of::<Rfc1321>().await;
    odd_tails_of::<Fips180>().await;
}

async fn a_thousand_streams_on_many_threads_some_of_them_dropped_of<F: Laned + Known>() {
    let lanes = Lanes::<F>::new(Backend::detect());
    let mut tasks = Vec::new();
    for n in 0..1000u64 {
        let lanes = lanes.clone();
        tasks.push(tokio::spawn(async move {
            let data = noise(n, (n as usize * 977) % 40_000);
            let cuts = (0..).map(move |i: usize| (i * 7919 + n as usize * 13) % 9_000);
            let pauses = (0..).map(move |i: u64| (i + n).is_multiple_of(3));
            let run = hash(lanes, data.clone(), cuts, pauses);
            if n % 7 == 0 {
                // The client is gone, at one moment or another.
                let patience = Duration::from_micros(n * 3);
                let _ = tokio::time::timeout(patience, run).await;
            } else {
                assert_eq!(run.await, F::oracle(&data), "{n}");
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_empty(&lanes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_streams_on_many_threads_some_of_them_dropped() {
    a_thousand_streams_on_many_threads_some_of_them_dropped_of::<Rfc1321>().await;
    a_thousand_streams_on_many_threads_some_of_them_dropped_of::<Fips180>().await;
}

/// Threads without a runtime, which drop streams at any moment: also while another thread is hashing them.
fn threads_without_a_clock_of<F: Laned + Known>() {
    let lanes = Lanes::<F>::new(Backend::detect());
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let lanes = &lanes;
            scope.spawn(move || {
                let data = noise(thread, 50_000);
                let want = F::oracle(&data);
                for round in 0..20u64 {
                    let mut streams: Vec<_> = (0..6).map(|_| lanes.stream(Some(LONG))).collect();
                    for piece in data.chunks(7_000 + round as usize) {
                        for stream in &mut streams {
                            futures::executor::block_on(poll_fn(|cx| stream.poll_ready(cx)))
                                .unwrap();
                            stream.push(&data.slice_ref(piece));
                        }
                    }
                    streams.truncate(1 + (round % 6) as usize);
                    for mut stream in streams {
                        let digest =
                            futures::executor::block_on(poll_fn(|cx| stream.poll_finish(cx)));
                        assert_eq!(digest.unwrap(), want);
                    }
                }
            });
        }
    });
    assert_empty(&lanes);
}

#[test]
fn threads_without_a_clock() {
    threads_without_a_clock_of::<Rfc1321>();
    threads_without_a_clock_of::<Fips180>();
}

#[test]
fn what_a_panic_left_half_done_fails() {
    let lanes = md5_lanes();
    if Backend::detect().lanes::<Rfc1321>() == 1 {
        return;
    }
    let mut streams = [lanes.stream(Some(LONG)), lanes.stream(Some(LONG))];
    for md5 in &mut streams {
        md5.push(&noise(1, 70_000));
        md5.push(&noise(1, 70_000));
    }
    streams[0].push(&noise(1, 70_000));
    let batch = lanes.queue.break_off();
    assert!(batch > 0);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let failed = streams
        .iter_mut()
        .map(|md5| matches!(md5.poll_finish(&mut cx), Poll::Ready(Err(_))));
    assert_eq!(failed.filter(|failed| *failed).count(), batch);
    drop(streams);
    assert_empty(&lanes);
}

/// Mostly short: without optimisation the kernels are slow.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0..24 * 1024usize, 1 => 0..300 * 1024usize]
}

/// Any streams in any pieces, polled in any order by hand.
fn in_order<F: Laned + Known>(
    lanes: &Arc<Lanes<F>>,
    data: &[Bytes],
    cuts: &[usize],
    order: &[prop::sample::Index],
) -> Result<(), TestCaseError> {
    let mut running: Vec<_> = (0..)
        .zip(data)
        .map(|(n, data)| {
            let cuts = cuts.iter().copied().cycle().skip(n);
            let pauses = std::iter::repeat(true);
            (n, Box::pin(hash(lanes.clone(), data.clone(), cuts, pauses)))
        })
        .collect();
    let mut order = order.iter().cycle();
    while !running.is_empty() {
        let at = order.next().unwrap().index(running.len());
        if let Poll::Ready(digest) = poll(&mut running[at].1) {
            let (n, _) = running.swap_remove(at);
            prop_assert_eq!(digest, F::oracle(&data[n]));
        }
    }
    assert_empty(lanes);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// At every level that the CPU has.
    #[test]
    fn any_order(
        lengths in proptest::collection::vec(length(), 1..24),
        cuts in proptest::collection::vec(1usize..80_000, 1..8),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 1..200),
    ) {
        let data: Vec<_> = (0..).zip(&lengths).map(|(n, length)| noise(n, *length)).collect();
        for backend in Backend::all() {
            in_order(&Lanes::<Rfc1321>::new(backend), &data, &cuts, &order)?;
            in_order(&Lanes::<Fips180>::new(backend), &data, &cuts, &order)?;
        }
    }
}
