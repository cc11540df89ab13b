//! Blocks of many streams at once, one stream in each lane of vectors: what is the same for every hash function.
//!
//! `G` groups of vectors are interleaved where one alone would leave the CPU waiting.

use fearless_simd::prelude::*;

use super::{BLOCK, MAX_LANES, WORDS};

/// The states of all lanes, each of the variables by lane.
#[derive(Clone, Debug, Default)]
pub struct States([[u32; MAX_LANES]; WORDS]);

impl States {
    /// The state of one lane.
    pub(super) fn of(&self, lane: usize) -> [u32; WORDS] {
        self.0
            .map(|variable| variable.get(lane).copied().unwrap_or_default())
    }

    /// Sets the state of one lane.
    pub(super) fn put(&mut self, lane: usize, state: [u32; WORDS]) {
        for (variable, value) in self.0.iter_mut().zip(state) {
            if let Some(place) = variable.get_mut(lane) {
                *place = value;
            }
        }
    }

    /// A variable of all lanes, in `G` vectors.
    #[inline(always)]
    pub(super) fn vectors<S: Simd, V: SimdInt<S, Element = u32>, const G: usize>(
        &self,
        simd: S,
        variable: usize,
    ) -> [V; G] {
        let mut vectors = [V::splat(simd, 0); G];
        for (vector, values) in vectors
            .iter_mut()
            .zip(self.0[variable].chunks_exact(V::LEN))
        {
            *vector = V::from_slice(simd, values);
        }
        vectors
    }

    /// Sets them.
    #[inline(always)]
    pub(super) fn set<S: Simd, V: SimdInt<S, Element = u32>, const G: usize>(
        &mut self,
        variable: usize,
        vectors: [V; G],
    ) {
        for (values, vector) in self.0[variable].chunks_exact_mut(V::LEN).zip(vectors) {
            vector.store_slice(values);
        }
    }
}

/// The blocks of every lane.
pub struct Lanes<'a> {
    blocks: [&'a [[u8; BLOCK]]; MAX_LANES],
    /// Lanes that have a stream.
    pub(super) used: usize,
    /// Blocks of each.
    pub(super) count: usize,
}

impl<'a> Lanes<'a> {
    /// The first `count` blocks of each lane, which must have as many. None without a lane.
    pub(super) fn new(blocks: &[&'a [[u8; BLOCK]]], count: usize) -> Option<Self> {
        // Lanes without a stream do the last one's work again; nobody asks for the result.
        let mut all = [*blocks.last()?; MAX_LANES];
        for (lane, blocks) in all.iter_mut().zip(blocks) {
            *lane = blocks;
        }
        for lane in &mut all {
            *lane = lane.get(..count)?;
        }
        Some(Self {
            blocks: all,
            used: blocks.len(),
            count,
        })
    }

    /// The sixteen words of a block of each lane, in `G` vectors. Indices are constant or bounded by constants throughout.
    #[inline(always)]
    pub(super) fn words<S: Simd, V: SimdInt<S, Element = u32>, const G: usize>(
        &self,
        simd: S,
        at: usize,
    ) -> [[V; 16]; G] {
        let mut words = [[V::splat(simd, 0); 16]; G];
        for (g, words) in words.iter_mut().enumerate() {
            load(simd, words, &self.blocks[g * V::LEN..(g + 1) * V::LEN], at);
        }
        words
    }
}

/// The sixteen words of one block of each lane: vector `w` gets word `w` of all of them.
#[inline(always)]
fn load<S: Simd, V: SimdInt<S, Element = u32>>(
    simd: S,
    words: &mut [V; 16],
    lanes: &[&[[u8; BLOCK]]],
    at: usize,
) {
    // Squares of as many words of as many lanes.
    for (lane, blocks) in lanes.iter().enumerate() {
        let block = &blocks[at];
        for square in 0..16 / V::LEN {
            let bytes = &block[square * V::LEN * 4..(square + 1) * V::LEN * 4];
            let bytes = V::ByteVector::from_slice(simd, bytes);
            words[square * V::LEN + lane] = V::from_bytes(bytes);
        }
    }
    // Each is transposed by shuffling its halves into one another until every lane is in its place.
    let mut rounds = V::LEN;
    while rounds > 1 {
        let old = *words;
        for square in 0..16 / V::LEN {
            for row in 0..V::LEN / 2 {
                let from = square * V::LEN + row;
                let to = square * V::LEN + 2 * row;
                let (low, high) = old[from].interleave(old[from + V::LEN / 2]);
                words[to] = low;
                words[to + 1] = high;
            }
        }
        rounds /= 2;
    }
}

/// Each word with its bytes the other way round.
#[inline(always)]
pub(super) fn swap_bytes<S: Simd, V: SimdInt<S, Element = u32>>(simd: S, word: V) -> V {
    let odd = V::splat(simd, 0x00ff_00ff);
    let (left, right) = (
        rotate_right::<S, V>(word, 24),
        rotate_right::<S, V>(word, 8),
    );
    (left & odd) | (right & !odd)
}

/// Each word rotated by so many bits, 1 to 31.
#[inline(always)]
pub(super) fn rotate_right<S: Simd, V: SimdInt<S, Element = u32>>(word: V, bits: u32) -> V {
    (word >> bits) | (word << (32 - bits))
}
