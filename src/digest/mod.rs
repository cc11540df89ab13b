//! MD5 of many streams side by side.
//!
//! A step of MD5 waits for the one before it, so one stream leaves most of a core idle: about 0.65 GB/s, whatever the
//! width of its registers. Streams do not wait for each other. [`Backend::compress`] takes one block of each of up to
//! sixteen at a time, one in each lane of a vector, and does them in little more time than one.
//!
//! The kernels are written once over `fearless_simd`'s vectors and compiled for each level that the CPU may have;
//! RustCrypto's `md-5` is the one-lane way, and what the tests hold the kernels against. There are crates that
//! interleave MD5 themselves, faster by a tenth where lanes are full; they are young, and thousands of lines of `unsafe`
//! intrinsics for the bytes of strangers.

mod kernel;

use std::fmt;

use fearless_simd::Level;
use md5::block_api::compress as one_lane;

/// Streams that are hashed side by side at most, on any CPU.
pub const MAX_LANES: usize = 16;

/// Bytes of a block.
pub const BLOCK: usize = 64;

/// The variables of RFC 1321, section 3.3, before the first block.
const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The MD5 of one stream, as far as it has come.
#[derive(Clone)]
pub struct Md5 {
    state: [u32; 4],
    /// The block under way, as far as `length` says.
    open: [u8; BLOCK],
    /// Bytes taken in.
    length: u64,
}

impl Default for Md5 {
    fn default() -> Self {
        Self {
            state: START,
            open: [0; BLOCK],
            length: 0,
        }
    }
}

impl Md5 {
    /// Takes in the next bytes, in one lane.
    pub fn update(&mut self, data: &[u8]) {
        let data = data.get(self.fill(data)..).unwrap_or_default();
        let (blocks, rest) = data.as_chunks::<BLOCK>();
        one_lane(&mut self.state, blocks);
        self.took(blocks.len());
        self.fill(rest);
    }

    /// Takes in the bytes that do not make a whole block of their own: those which complete the open one, and those which
    /// are fewer than a block. Returns how many. Unless that is all of them, whole blocks can follow.
    pub fn fill(&mut self, data: &[u8]) -> usize {
        let at = self.open_bytes();
        if at == 0 && data.len() >= BLOCK {
            return 0;
        }
        let taken = data.len().min(BLOCK - at);
        if let (Some(open), Some(data)) = (self.open.get_mut(at..at + taken), data.get(..taken)) {
            open.copy_from_slice(data);
        }
        self.length = self.length.wrapping_add(taken as u64);
        if at + taken == BLOCK {
            one_lane(&mut self.state, &[self.open]);
            // Less than a block may be left, which opens the next.
            let rest = data.get(taken..).unwrap_or_default();
            if rest.len() < BLOCK {
                return taken + self.fill(rest);
            }
        }
        taken
    }

    /// The digest of everything that was taken in.
    #[must_use]
    pub fn finish(mut self) -> [u8; 16] {
        let bits = self.length.wrapping_mul(8);
        let zeros = (BLOCK + 55 - self.open_bytes()) % BLOCK;
        self.update(&[0x80]);
        self.update([0; BLOCK].get(..zeros).unwrap_or_default());
        self.update(&bits.to_le_bytes());
        let mut digest = [0; 16];
        for (to, from) in digest.as_chunks_mut::<4>().0.iter_mut().zip(self.state) {
            *to = from.to_le_bytes();
        }
        digest
    }

    fn open_bytes(&self) -> usize {
        // Less than 64.
        (self.length % BLOCK as u64) as usize
    }

    fn took(&mut self, blocks: usize) {
        let bytes = (blocks as u64).wrapping_mul(BLOCK as u64);
        self.length = self.length.wrapping_add(bytes);
    }
}

impl fmt::Debug for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Md5")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// How this CPU hashes streams side by side.
#[derive(Clone, Copy, Debug)]
pub struct Backend(Level);

impl Backend {
    /// The fastest that the CPU has.
    #[must_use]
    pub fn detect() -> Self {
        Self(Level::new())
    }

    /// All that the CPU has, the fastest first. For tests and benchmarks.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let best = Level::new();
        #[cfg(target_arch = "x86_64")]
        let others = [
            best.as_avx2().map(Level::Avx2),
            best.as_sse4_2().map(Level::Sse4_2),
            best.as_sse2().map(Level::Sse2),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let others: [Option<Level>; 0] = [];
        let mut all = vec![Self(best)];
        for level in others.into_iter().flatten() {
            if std::mem::discriminant(&level) != std::mem::discriminant(&best) {
                all.push(Self(level));
            }
        }
        all
    }

    /// Streams that it hashes side by side; 1 where one after the other is as good.
    #[must_use]
    pub fn lanes(self) -> usize {
        if cfg!(target_endian = "big") {
            return 1;
        }
        kernel::lanes(self.0)
    }

    /// Takes blocks into several streams, as many as the shortest of `blocks` has, and returns how many that were. The
    /// streams come first, their blocks in the same order; there may be at most [`lanes`](Self::lanes) of them, and
    /// [`fill`](Md5::fill) must have left each at the end of a block.
    pub fn compress(self, streams: &mut [&mut Md5], blocks: &[&[[u8; BLOCK]]]) -> usize {
        debug_assert!(streams.len() <= self.lanes());
        let count = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
        if count == 0 {
            return 0;
        }
        debug_assert!(streams.iter().all(|stream| stream.open_bytes() == 0));
        if streams.len() == 1 || self.lanes() == 1 {
            for (stream, blocks) in streams.iter_mut().zip(blocks) {
                one_lane(&mut stream.state, blocks.get(..count).unwrap_or_default());
            }
        } else {
            let mut states = kernel::States::default();
            for (lane, stream) in streams.iter().enumerate() {
                states.put(lane, stream.state);
            }
            kernel::compress(self.0, &mut states, blocks, count);
            for (lane, stream) in streams.iter_mut().enumerate() {
                stream.state = states.of(lane);
            }
        }
        for stream in streams {
            stream.took(count);
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use md5::Digest as _;
    use proptest::prelude::*;

    fn oracle(data: &[u8]) -> [u8; 16] {
        md5::Md5::digest(data).into()
    }

    fn of(data: &[u8]) -> [u8; 16] {
        let mut md5 = Md5::default();
        md5.update(data);
        md5.finish()
    }

    /// Test suite of RFC 1321, appendix A.5.
    const RFC_1321: [(&str, &str); 7] = [
        ("", "d41d8cd98f00b204e9800998ecf8427e"),
        ("a", "0cc175b9c0f1b6a831c399e269772661"),
        ("abc", "900150983cd24fb0d6963f7d28e17f72"),
        ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
        (
            "abcdefghijklmnopqrstuvwxyz",
            "c3fcd3d76192e4007dfb496cca67e13b",
        ),
        (
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            "d174ab98d277d9f5a5611c2c9f419d9f",
        ),
        (
            "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
            "57edf4a22be3c955ac49da2e2107b67a",
        ),
    ];

    #[test]
    fn rfc_1321() {
        for (text, digest) in RFC_1321 {
            assert_eq!(hex::encode(of(text.as_bytes())), digest, "{text:?}");
        }
    }

    #[test]
    fn all_lengths_around_blocks_and_all_cuts() {
        let data: Vec<u8> = (0..200u8).collect();
        for length in 0..data.len() {
            let data = &data[..length];
            assert_eq!(of(data), oracle(data), "{length}");
            for cut in 0..length {
                let mut md5 = Md5::default();
                md5.update(&data[..cut]);
                md5.update(&data[cut..]);
                assert_eq!(md5.finish(), oracle(data), "{cut} of {length}");
            }
        }
    }

    #[test]
    fn every_level_has_lanes_and_the_best_comes_first() {
        let all = Backend::all();
        assert_eq!(all[0].lanes(), Backend::detect().lanes());
        assert!(all.iter().all(|b| (1..=MAX_LANES).contains(&b.lanes())));
        assert!(all.is_sorted_by_key(|backend| std::cmp::Reverse(backend.lanes())));
    }

    /// Hashes the streams side by side, block by block as far as they go together, then one by one.
    fn together(backend: Backend, data: &[Vec<u8>], cuts: &[usize]) -> Vec<[u8; 16]> {
        let mut streams = vec![Md5::default(); data.len()];
        let mut rest: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        for cut in cuts {
            for (stream, rest) in streams.iter_mut().zip(&mut rest) {
                let (piece, behind) = rest.split_at(*cut.min(&rest.len()));
                stream.update(piece);
                let filled = stream.fill(behind);
                *rest = &behind[filled..];
            }
            let blocks: Vec<_> = rest.iter().map(|rest| rest.as_chunks().0).collect();
            let mut streams: Vec<_> = streams.iter_mut().collect();
            let count = backend.compress(&mut streams, &blocks);
            for rest in &mut rest {
                *rest = &rest[count * BLOCK..];
            }
        }
        for (stream, rest) in streams.iter_mut().zip(rest) {
            stream.update(rest);
        }
        streams.into_iter().map(Md5::finish).collect()
    }

    #[test]
    fn the_last_lane_counts_as_the_first_does() {
        for backend in Backend::all() {
            for count in 1..=backend.lanes() {
                let data: Vec<_> = (0..count).map(|n| vec![n as u8; 64 * 3]).collect();
                let want: Vec<_> = data.iter().map(|data| oracle(data)).collect();
                assert_eq!(together(backend, &data, &[0]), want, "{backend:?} {count}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn as_one_after_the_other(
            seeds in proptest::collection::vec((any::<u64>(), length()), 1..=MAX_LANES),
            cuts in proptest::collection::vec(0usize..1000, 0..5),
        ) {
            let data: Vec<Vec<u8>> = seeds.iter().map(|(seed, length)| noise(*seed, *length)).collect();
            let want: Vec<_> = data.iter().map(|data| oracle(data)).collect();
            for backend in Backend::all() {
                let mut got = Vec::new();
                for data in data.chunks(backend.lanes()) {
                    got.extend(together(backend, data, &cuts));
                }
                prop_assert_eq!(&got, &want, "{:?}", backend);
            }
        }
    }

    /// Mostly short: without optimisation the kernels are slow.
    fn length() -> impl Strategy<Value = usize> {
        prop_oneof![8 => 0..4096usize, 1 => 0..300 * 1024usize]
    }

    fn noise(mut seed: u64, length: usize) -> Vec<u8> {
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }
}
