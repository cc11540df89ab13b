//! SHA-256 (FIPS 180-4).
//!
//! With the CPU's own instructions for it one stream is hashed so fast that only AVX-512 is faster, and only from six streams
//! on. Without them one stream takes six times as long, and eight lanes of AVX2 pay from three streams on.

use std::hint::black_box;

use fearless_simd::{Level, dispatch, prelude::*, u32x8, u32x16};
use sha2::block_api::compress256;

use super::kernel::{Lanes, States, rotate_right, swap_bytes};
use super::{BLOCK, Function, Side, WORDS};

/// The function.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fips180;

impl Function for Fips180 {
    type Digest = [u8; 32];

    const BIG_ENDIAN: bool = true;
    /// Section 5.3.3.
    const START: [u32; WORDS] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];

    fn one_lane(state: &mut [u32; WORDS], blocks: &[[u8; BLOCK]]) {
        compress256(state, blocks);
    }

    fn side(level: Level, sha: bool) -> Side {
        match (level, sha) {
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512(_), true) => Side {
                lanes: 16,
                pays: 6,
                wide: 13,
            },
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512(_), false) => Side {
                lanes: 16,
                pays: 3,
                wide: 9,
            },
            #[cfg(target_arch = "x86_64")]
            (Level::Avx2(_), false) => Side {
                lanes: 8,
                pays: 3,
                wide: 9,
            },
            _ => Side::ALONE,
        }
    }

    fn side_by_side(level: Level, states: &mut States, lanes: &Lanes<'_>) {
        if lanes.used <= 8 {
            dispatch!(level, simd => run::<_, u32x8<_>, 1>(simd, states, lanes));
        } else {
            dispatch!(level, simd => run::<_, u32x16<_>, 1>(simd, states, lanes));
        }
    }
}

/// The compression function, section 6.2.2, over all blocks.
#[inline(always)]
fn run<S: Simd, V: SimdInt<S, Element = u32>, const G: usize>(
    simd: S,
    states: &mut States,
    lanes: &Lanes<'_>,
) {
    // Constants that the compiler does not know it adds where they are written.
    let roots = black_box(&CUBE_ROOTS);
    let mut state = [[V::splat(simd, 0); G]; WORDS];
    for (variable, vectors) in state.iter_mut().enumerate() {
        *vectors = states.vectors(simd, variable);
    }
    for at in 0..lanes.count {
        let mut words: [[V; 16]; G] = lanes.words(simd, at);
        for words in &mut words {
            for word in words {
                *word = swap_bytes(simd, *word);
            }
        }
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
        // One step, with word `$word` of the sixteen that are known.
        macro_rules! step {
            ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident $step:expr, $word:expr) => {
                for n in 0..G {
                    let known = words[n][$word] + V::splat(simd, roots[$step]);
                    let first = $h[n]
                        + known
                        + choose($e[n], $f[n], $g[n])
                        + sigma::<S, V>($e[n], [6, 11, 25]);
                    $d[n] += first;
                    $h[n] =
                        first + majority($a[n], $b[n], $c[n]) + sigma::<S, V>($a[n], [2, 13, 22]);
                }
            };
        }
        // The word sixteen steps on takes the place of this one.
        macro_rules! schedule {
            ($($word:expr),*) => {$(
                for words in words.iter_mut() {
                    let (x, y) = (words[($word + 1) % 16], words[($word + 14) % 16]);
                    words[$word] += words[($word + 9) % 16]
                        + (rotate_right::<S, V>(x, 7) ^ rotate_right::<S, V>(x, 18) ^ (x >> 3))
                        + (rotate_right::<S, V>(y, 17) ^ rotate_right::<S, V>(y, 19) ^ (y >> 10));
                }
            )*};
        }
        macro_rules! steps {
            ($step:expr, $word:expr) => {
                step!(a b c d e f g h $step, $word);
                step!(h a b c d e f g $step + 1, $word + 1);
                step!(g h a b c d e f $step + 2, $word + 2);
                step!(f g h a b c d e $step + 3, $word + 3);
                step!(e f g h a b c d $step + 4, $word + 4);
                step!(d e f g h a b c $step + 5, $word + 5);
                step!(c d e f g h a b $step + 6, $word + 6);
                step!(b c d e f g h a $step + 7, $word + 7);
            };
        }
        steps!(0, 0);
        steps!(8, 8);
        for sixteen in 1..4 {
            schedule!(0, 1, 2, 3, 4, 5, 6, 7);
            steps!(sixteen * 16, 0);
            schedule!(8, 9, 10, 11, 12, 13, 14, 15);
            steps!(sixteen * 16 + 8, 8);
        }
        for (vectors, after) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            for n in 0..G {
                vectors[n] += after[n];
            }
        }
    }
    for (variable, vectors) in state.into_iter().enumerate() {
        states.set(variable, vectors);
    }
}

/// Section 4.2.2: of the cube roots of the first 64 primes the first 32 bits behind the point.
#[rustfmt::skip]
const CUBE_ROOTS: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

#[inline(always)]
fn choose<S: Simd, V: SimdInt<S, Element = u32>>(e: V, f: V, g: V) -> V {
    g ^ (e & (f ^ g))
}

#[inline(always)]
fn majority<S: Simd, V: SimdInt<S, Element = u32>>(a: V, b: V, c: V) -> V {
    (a & b) | (c & (a | b))
}

#[inline(always)]
fn sigma<S: Simd, V: SimdInt<S, Element = u32>>(word: V, [x, y, z]: [u32; 3]) -> V {
    rotate_right::<S, V>(word, x) ^ rotate_right::<S, V>(word, y) ^ rotate_right::<S, V>(word, z)
}
