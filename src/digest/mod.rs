//! MD5 and SHA-256 of many streams side by side.
//!
//! A step of either waits for the one before it, so one stream leaves most of a core idle: about 0.65 GB/s of MD5, whatever the
//! width of its registers. Streams do not wait for each other. [`Backend::compress`] takes one block of each of up to
//! sixteen at a time, one in each lane of a vector, and does them in little more time than one of MD5, or in half the time that
//! the CPU's own instructions for SHA-256 take one after the other.
//!
//! The kernels are written once over `fearless_simd`'s vectors and compiled for each level that the CPU may have;
//! RustCrypto's `md-5` and `sha2` are the one-lane way, and what the tests hold the kernels against. There are crates that
//! interleave MD5 themselves, faster by a tenth where lanes are full; they are young, and thousands of lines of `unsafe`
//! intrinsics for the bytes of strangers. Those that interleave SHA-256 want whole messages.

mod kernel;
mod md5;
mod several;
mod sha256;

use std::fmt;
use std::sync::LazyLock;

use fearless_simd::Level;

pub use self::md5::Rfc1321;
pub use self::several::ByLanes;
pub use self::sha256::Fips180;

/// Streams that are hashed side by side at most, on any CPU.
pub const MAX_LANES: usize = 16;

/// Bytes of a block.
pub const BLOCK: usize = 64;

/// Lanes of half a batch.
const NARROW: usize = 8;

/// Words of the longest state.
const WORDS: usize = 8;

/// A hash function that takes in blocks of 64 bytes, as 32-bit words, and the length at the end. Only those of this module are.
pub trait Function: Copy + fmt::Debug + Default + Send + Sync + 'static {
    /// What comes out.
    type Digest: Copy + fmt::Debug + Default + PartialEq + AsMut<[u8]> + Send + 'static;

    /// The order of bytes in a word and in the length.
    #[doc(hidden)]
    const BIG_ENDIAN: bool;
    /// The state before the first block, zeros behind its words.
    #[doc(hidden)]
    const START: [u32; WORDS];

    /// Takes in blocks of one stream.
    #[doc(hidden)]
    fn one_lane(state: &mut [u32; WORDS], blocks: &[[u8; BLOCK]]);

    /// What pays at that level, on a CPU that has instructions for SHA-256 or not.
    #[doc(hidden)]
    fn side(level: Level, sha: bool) -> Side;

    /// Takes in blocks of several streams.
    #[doc(hidden)]
    fn side_by_side(level: Level, states: &mut kernel::States, lanes: &kernel::Lanes<'_>);
}

/// How many streams are hashed side by side.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Side {
    /// At most; 1 where one after the other is as good.
    pub lanes: usize,
    /// At least: fewer take longer than one after the other.
    pub pays: usize,
    /// So many, and more, are hashed all at once; of fewer, eight at a time.
    pub wide: usize,
}

impl Side {
    /// One after the other.
    const ALONE: Self = Self {
        lanes: 1,
        pays: 1,
        wide: 1,
    };

    /// How many of so many streams go first.
    fn group(self, streams: usize) -> usize {
        let together = match streams >= self.wide {
            true => MAX_LANES,
            false => NARROW,
        };
        streams.min(together).min(self.lanes)
    }
}

/// A hash of one stream, as far as it has come.
#[derive(Clone)]
pub struct Stream<F: Function> {
    state: [u32; WORDS],
    /// The block under way, as far as `length` says.
    open: [u8; BLOCK],
    /// Bytes taken in.
    length: u64,
    function: F,
}

impl<F: Function> Default for Stream<F> {
    fn default() -> Self {
        Self {
            state: F::START,
            open: [0; BLOCK],
            length: 0,
            function: F::default(),
        }
    }
}

impl<F: Function> Stream<F> {
    /// Takes in the next bytes, in one lane.
    pub fn update(&mut self, data: &[u8]) {
        let data = data.get(self.fill(data)..).unwrap_or_default();
        let (blocks, rest) = data.as_chunks::<BLOCK>();
        F::one_lane(&mut self.state, blocks);
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
            F::one_lane(&mut self.state, &[self.open]);
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
    pub fn finish(mut self) -> F::Digest {
        let bits = self.length.wrapping_mul(8);
        let zeros = (BLOCK + 55 - self.open_bytes()) % BLOCK;
        self.update(&[0x80]);
        self.update([0; BLOCK].get(..zeros).unwrap_or_default());
        self.update(&match F::BIG_ENDIAN {
            true => bits.to_be_bytes(),
            false => bits.to_le_bytes(),
        });
        let mut digest = F::Digest::default();
        let words = digest.as_mut().as_chunks_mut::<4>().0;
        for (to, from) in words.iter_mut().zip(self.state) {
            *to = match F::BIG_ENDIAN {
                true => from.to_be_bytes(),
                false => from.to_le_bytes(),
            };
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

impl<F: Function> fmt::Debug for Stream<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("function", &self.function)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// How this CPU hashes streams side by side.
#[derive(Clone, Copy, Debug)]
pub struct Backend {
    level: Level,
    /// Whether it has instructions for SHA-256.
    sha: bool,
}

impl Backend {
    /// The fastest that the CPU has. It is asked once.
    #[must_use]
    pub fn detect() -> Self {
        static FASTEST: LazyLock<Backend> = LazyLock::new(|| Backend {
            level: Level::new(),
            sha: has_sha(),
        });
        *FASTEST
    }

    /// All that the CPU has, the fastest first, then what those would be without instructions for SHA-256 that differ. For
    /// tests and benchmarks.
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
        let mut levels = vec![best];
        for level in others.into_iter().flatten() {
            if std::mem::discriminant(&level) != std::mem::discriminant(&best) {
                levels.push(level);
            }
        }
        let sha = has_sha();
        let mut all: Vec<_> = levels.iter().map(|&level| Self { level, sha }).collect();
        if sha {
            let without = levels.into_iter().map(|level| Self { level, sha: false });
            all.extend(without.filter(|backend| backend.lanes::<Fips180>() > 1));
        }
        all
    }

    /// Streams that it hashes side by side; 1 where one after the other is as good.
    #[must_use]
    pub fn lanes<F: Function>(self) -> usize {
        self.side::<F>().lanes
    }

    /// How few streams still pay; fewer are hashed one after the other.
    #[must_use]
    pub fn pays<F: Function>(self) -> usize {
        self.side::<F>().pays
    }

    fn side<F: Function>(self) -> Side {
        if cfg!(target_endian = "big") {
            return Side::ALONE;
        }
        F::side(self.level, self.sha)
    }

    /// Takes blocks into several streams, as many as the shortest of `blocks` has, and returns how many that were. The
    /// streams come first, their blocks in the same order; there may be at most [`lanes`](Self::lanes) of them, and
    /// [`fill`](Stream::fill) must have left each at the end of a block.
    pub fn compress<F: Function>(
        self,
        streams: &mut [&mut Stream<F>],
        blocks: &[&[[u8; BLOCK]]],
    ) -> usize {
        let side = self.side::<F>();
        debug_assert!(streams.len() <= side.lanes);
        let count = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
        if count == 0 {
            return 0;
        }
        debug_assert!(streams.iter().all(|stream| stream.open_bytes() == 0));
        let mut streams_left = &mut *streams;
        let mut blocks_left = blocks;
        while side.lanes > 1 && streams_left.len() >= side.pays {
            let together = side.group(streams_left.len());
            let (group, others) = streams_left.split_at_mut(together);
            let (theirs, behind) = blocks_left.split_at(together.min(blocks_left.len()));
            (streams_left, blocks_left) = (others, behind);
            let Some(lanes) = kernel::Lanes::new(theirs, count) else {
                break;
            };
            let mut states = kernel::States::default();
            for (lane, stream) in group.iter().enumerate() {
                states.put(lane, stream.state);
            }
            F::side_by_side(self.level, &mut states, &lanes);
            for (lane, stream) in group.iter_mut().enumerate() {
                stream.state = states.of(lane);
            }
        }
        for (stream, blocks) in streams_left.iter_mut().zip(blocks_left) {
            F::one_lane(&mut stream.state, blocks.get(..count).unwrap_or_default());
        }
        for stream in streams {
            stream.took(count);
        }
        count
    }
}

/// Whether this CPU has instructions for SHA-256.
fn has_sha() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("sha");
    #[cfg(target_arch = "aarch64")]
    let has = std::arch::is_aarch64_feature_detected!("sha2");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has = false;
    has
}

#[cfg(test)]
pub(crate) mod tests {
    use ::md5::Digest as _;
    use proptest::prelude::*;

    use super::*;

    /// A function that another crate has, too.
    pub(crate) trait Known: Function {
        fn oracle(data: &[u8]) -> Self::Digest;
    }

    impl Known for Rfc1321 {
        fn oracle(data: &[u8]) -> [u8; 16] {
            ::md5::Md5::digest(data).into()
        }
    }

    impl Known for Fips180 {
        fn oracle(data: &[u8]) -> [u8; 32] {
            sha2::Sha256::digest(data).into()
        }
    }

    fn of<F: Function>(data: &[u8]) -> F::Digest {
        let mut stream = Stream::<F>::default();
        stream.update(data);
        stream.finish()
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
            let got = of::<Rfc1321>(text.as_bytes());
            assert_eq!(hex::encode(got), digest, "{text:?}");
        }
    }

    /// NIST, "Examples with Intermediate Values", SHA-256; and nothing at all.
    const FIPS_180: [(&str, &str); 3] = [
        (
            "",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        (
            "abc",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
    ];

    #[test]
    fn fips_180() {
        for (text, digest) in FIPS_180 {
            let got = of::<Fips180>(text.as_bytes());
            assert_eq!(hex::encode(got), digest, "{text:?}");
        }
    }

    fn all_lengths_and_cuts<F: Known>() {
        let data: Vec<u8> = (0..200u8).collect();
        for length in 0..data.len() {
            let data = &data[..length];
            assert_eq!(of::<F>(data), F::oracle(data), "{length}");
            for cut in 0..length {
                let mut stream = Stream::<F>::default();
                stream.update(&data[..cut]);
                stream.update(&data[cut..]);
                assert_eq!(stream.finish(), F::oracle(data), "{cut} of {length}");
            }
        }
    }

    #[test]
    fn all_lengths_around_blocks_and_all_cuts() {
        all_lengths_and_cuts::<Rfc1321>();
        all_lengths_and_cuts::<Fips180>();
    }

    fn sides_of<F: Function>() {
        let all = Backend::all();
        let sides: Vec<_> = all.iter().map(|backend| backend.side::<F>()).collect();
        assert_eq!(sides[0].lanes, Backend::detect().lanes::<F>());
        for side in sides {
            assert!((1..=MAX_LANES).contains(&side.lanes), "{side:?}");
            assert!(side.lanes == 1 || side.pays <= side.lanes, "{side:?}");
        }
    }

    #[test]
    fn every_level_has_lanes_and_the_best_comes_first() {
        sides_of::<Rfc1321>();
        sides_of::<Fips180>();
    }

    /// Hashes the streams side by side, block by block as far as they go together, then one by one.
    fn together<F: Function>(backend: Backend, data: &[Vec<u8>], cuts: &[usize]) -> Vec<F::Digest> {
        let mut streams = vec![Stream::<F>::default(); data.len()];
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
        streams.into_iter().map(Stream::finish).collect()
    }

    fn any_number_of_lanes<F: Known>() {
        for backend in Backend::all() {
            for count in 1..=backend.lanes::<F>() {
                let data: Vec<_> = (0..count).map(|n| vec![n as u8; 64 * 3]).collect();
                let want: Vec<_> = data.iter().map(|data| F::oracle(data)).collect();
                let got = together::<F>(backend, &data, &[0]);
                assert_eq!(got, want, "{backend:?} {count}");
            }
        }
    }

    #[test]
    fn the_last_lane_counts_as_the_first_does() {
        any_number_of_lanes::<Rfc1321>();
        any_number_of_lanes::<Fips180>();
    }

    fn as_the_oracle<F: Known>(data: &[Vec<u8>], cuts: &[usize]) -> Result<(), TestCaseError> {
        let want: Vec<_> = data.iter().map(|data| F::oracle(data)).collect();
        for backend in Backend::all() {
            let mut got = Vec::new();
            for data in data.chunks(backend.lanes::<F>()) {
                got.extend(together::<F>(backend, data, cuts));
            }
            prop_assert_eq!(&got, &want, "{:?}", backend);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn as_one_after_the_other(
            seeds in proptest::collection::vec((any::<u64>(), length()), 1..=MAX_LANES),
            cuts in proptest::collection::vec(0usize..1000, 0..5),
        ) {
            let data: Vec<Vec<u8>> = seeds.iter().map(|(seed, length)| noise(*seed, *length)).collect();
            as_the_oracle::<Rfc1321>(&data, &cuts)?;
            as_the_oracle::<Fips180>(&data, &cuts)?;
        }
    }

    /// Mostly short: without optimisation the kernels are slow.
    fn length() -> impl Strategy<Value = usize> {
        prop_oneof![8 => 0..4096usize, 1 => 0..300 * 1024usize]
    }

    pub(crate) fn noise(mut seed: u64, length: usize) -> Vec<u8> {
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }
}
