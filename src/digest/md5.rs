//! MD5 (RFC 1321).
//!
//! Sixteen lanes are two vectors of eight, with AVX-512 as well, whose rotations and ternary logic they use: one vector of
//! sixteen is a chain of instructions that each wait for the one before. Few streams get short vectors, which take less time a
//! block.

use std::hint::black_box;

use fearless_simd::{Level, dispatch, prelude::*, u32x4, u32x8};
use md5::block_api::compress;

use super::kernel::{Lanes, States, rotate_right};
use super::{BLOCK, Function, Side, WORDS};

/// The function.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rfc1321;

impl Function for Rfc1321 {
    type Digest = [u8; 16];

    const BIG_ENDIAN: bool = false;
    /// Section 3.3.
    const START: [u32; WORDS] = [
        0x6745_2301,
        0xefcd_ab89,
        0x98ba_dcfe,
        0x1032_5476,
        0,
        0,
        0,
        0,
    ];

    fn one_lane(state: &mut [u32; WORDS], blocks: &[[u8; BLOCK]]) {
        if let Some(state) = state.first_chunk_mut() {
            compress(state, blocks);
        }
    }

    fn side(level: Level, _sha: bool) -> Side {
        let lanes = match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(_) | Level::Avx2(_) => 16,
            #[cfg(target_arch = "x86_64")]
            Level::Sse2(_) | Level::Sse4_2(_) => 8,
            #[cfg(target_arch = "aarch64")]
            Level::Neon(_) => 8,
            // Levels to come, and the scalar fallback.
            _ => return Side::ALONE,
        };
        Side {
            lanes,
            pays: 2,
            wide: 9,
        }
    }

    fn side_by_side(level: Level, states: &mut States, lanes: &Lanes<'_>) {
        match (lanes.used, level) {
            (0..=4, _) => {
                dispatch!(level, simd => run::<_, u32x4<_>, 1>(simd, states, lanes));
            }
            #[cfg(target_arch = "x86_64")]
            (5..=8, Level::Avx512(_) | Level::Avx2(_)) => {
                dispatch!(level, simd => run::<_, u32x8<_>, 1>(simd, states, lanes));
            }
            (5..=8, _) => {
                dispatch!(level, simd => run::<_, u32x4<_>, 2>(simd, states, lanes));
            }
            (_, _) => {
                dispatch!(level, simd => run::<_, u32x8<_>, 2>(simd, states, lanes));
            }
        }
    }
}

/// The compression function, section 3.4, over all blocks.
#[inline(always)]
fn run<S: Simd, V: SimdInt<S, Element = u32>, const G: usize>(
    simd: S,
    states: &mut States,
    lanes: &Lanes<'_>,
) {
    // Constants that the compiler knows it adds last, where every step would wait for it once more.
    let sines = black_box(&SINES);
    let mut a: [V; G] = states.vectors(simd, 0);
    let mut b: [V; G] = states.vectors(simd, 1);
    let mut c: [V; G] = states.vectors(simd, 2);
    let mut d: [V; G] = states.vectors(simd, 3);
    for at in 0..lanes.count {
        let words: [[V; 16]; G] = lanes.words(simd, at);
        let before = [a, b, c, d];
        // What a step adds that is known before: its constant and its word.
        macro_rules! prepare {
            ($a:ident $step:expr, $word:expr) => {
                for g in 0..G {
                    $a[g] += words[g][$word] + V::splat(simd, sines[$step]);
                }
            };
        }
        // The variable that the next step changes is prepared first, so that this one is the last to need it as it was:
        // without a copy, which would be one more instruction to wait for.
        macro_rules! step {
            ($f:ident $a:ident $b:ident $c:ident $d:ident $shift:expr $(, $step:expr, $word:expr)?) => {
                let old = $d;
                $(prepare!($d $step, $word);)?
                for g in 0..G {
                    let sum = $a[g] + $f::<S, V>($b[g], $c[g], old[g]);
                    $a[g] = $b[g] + rotate_right::<S, V>(sum, 32 - $shift);
                }
            };
        }
        // Four steps from `$step`, and the words of the four after the first of them.
        macro_rules! steps {
            ($f:ident $step:expr, [$x:expr, $y:expr, $z:expr $(, $w:expr)?], [$r:expr, $s:expr, $t:expr, $u:expr]) => {
                step!($f a b c d $r, $step + 1, $x);
                step!($f d a b c $s, $step + 2, $y);
                step!($f c d a b $t, $step + 3, $z);
                step!($f b c d a $u $(, $step + 4, $w)?);
            };
        }
        prepare!(a 0, 0);
        steps!(f 0, [1, 2, 3, 4], [7, 12, 17, 22]);
        steps!(f 4, [5, 6, 7, 8], [7, 12, 17, 22]);
        steps!(f 8, [9, 10, 11, 12], [7, 12, 17, 22]);
        steps!(f 12, [13, 14, 15, 1], [7, 12, 17, 22]);
        steps!(g 16, [6, 11, 0, 5], [5, 9, 14, 20]);
        steps!(g 20, [10, 15, 4, 9], [5, 9, 14, 20]);
        steps!(g 24, [14, 3, 8, 13], [5, 9, 14, 20]);
        steps!(g 28, [2, 7, 12, 5], [5, 9, 14, 20]);
        steps!(h 32, [8, 11, 14, 1], [4, 11, 16, 23]);
        steps!(h 36, [4, 7, 10, 13], [4, 11, 16, 23]);
        steps!(h 40, [0, 3, 6, 9], [4, 11, 16, 23]);
        steps!(h 44, [12, 15, 2, 0], [4, 11, 16, 23]);
        steps!(i 48, [7, 14, 5, 12], [6, 10, 15, 21]);
        steps!(i 52, [3, 10, 1, 8], [6, 10, 15, 21]);
        steps!(i 56, [15, 6, 13, 4], [6, 10, 15, 21]);
        steps!(i 60, [11, 2, 9], [6, 10, 15, 21]);
        for g in 0..G {
            a[g] += before[0][g];
            b[g] += before[1][g];
            c[g] += before[2][g];
            d[g] += before[3][g];
        }
    }
    for (variable, vectors) in [a, b, c, d].into_iter().enumerate() {
        states.set(variable, vectors);
    }
}

/// `floor(2^32 · |sin(i + 1)|)`.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

#[inline(always)]
fn f<S: Simd, V: SimdInt<S, Element = u32>>(b: V, c: V, d: V) -> V {
    d ^ (b & (c ^ d))
}

#[inline(always)]
fn g<S: Simd, V: SimdInt<S, Element = u32>>(b: V, c: V, d: V) -> V {
    c ^ (d & (b ^ c))
}

#[inline(always)]
fn h<S: Simd, V: SimdInt<S, Element = u32>>(b: V, c: V, d: V) -> V {
    b ^ c ^ d
}

#[inline(always)]
fn i<S: Simd, V: SimdInt<S, Element = u32>>(b: V, c: V, d: V) -> V {
    c ^ (b | !d)
}
