//! Pieces of several streams, of whatever lengths.

use std::cmp::Reverse;

use super::{BLOCK, Backend, Function, MAX_LANES, Stream};

/// Blocks of the shortest turn of a stream that has not come to its end.
const TURN: usize = 16;

/// Bytes that were hashed, by how many streams were hashed side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByLanes([u64; MAX_LANES]);

impl ByLanes {
    /// So many bytes more, of all streams together.
    pub fn add(&mut self, lanes: usize, bytes: usize) {
        if let Some(sum) = lanes.checked_sub(1).and_then(|at| self.0.get_mut(at)) {
            *sum = sum.wrapping_add(bytes as u64);
        }
    }

    /// Numbers of lanes, and the bytes that were hashed in so many; those that were not used are left out.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> {
        (1..).zip(self.0).filter(|(_, bytes)| *bytes > 0)
    }
}

/// What is left of a stream's piece.
struct Rest<'a, F: Function> {
    stream: &'a mut Stream<F>,
    blocks: &'a [[u8; BLOCK]],
    /// Less than a block.
    end: &'a [u8],
}

impl Backend {
    /// Takes the next piece of each stream into it, side by side as far as that pays. There may be any number of streams; the
    /// pieces are in the same order. Adds to `hashed` what it did.
    ///
    /// Where not all of them fit, those with the most left go first, for as long as the others can wait and still end in time.
    /// So all end together, and hardly anything is left to be hashed alone because the others have finished.
    pub fn update<F: Function>(
        self,
        streams: &mut [Stream<F>],
        pieces: &[&[u8]],
        hashed: &mut ByLanes,
    ) {
        let side = self.side::<F>();
        let mut rests: Vec<Rest<'_, F>> = Vec::with_capacity(streams.len());
        for (stream, piece) in streams.iter_mut().zip(pieces) {
            let filled = stream.fill(piece);
            hashed.add(1, filled);
            let (blocks, end) = piece.get(filled..).unwrap_or_default().as_chunks();
            rests.push(Rest {
                stream,
                blocks,
                end,
            });
        }
        loop {
            rests.sort_unstable_by_key(|rest| Reverse(rest.blocks.len()));
            let going = rests.partition_point(|rest| !rest.blocks.is_empty());
            let together = side.group(going);
            if side.lanes == 1 || together < side.pays {
                break;
            }
            let turn = match rests.get(together) {
                // Until the longest of those that wait would be the last.
                Some(first) => {
                    let blocks: usize = rests.iter().map(|rest| rest.blocks.len()).sum();
                    TURN.max((blocks / together).saturating_sub(first.blocks.len()))
                }
                None => usize::MAX,
            };
            let mut group = Vec::with_capacity(together);
            let mut blocks = Vec::with_capacity(together);
            for rest in rests.iter_mut().take(together) {
                group.push(&mut *rest.stream);
                blocks.push(rest.blocks.get(..turn).unwrap_or(rest.blocks));
            }
            let count = self.compress(&mut group, &blocks);
            for rest in rests.iter_mut().take(together) {
                rest.blocks = rest.blocks.get(count..).unwrap_or_default();
            }
            hashed.add(together, together * count * BLOCK);
        }
        for Rest {
            stream,
            blocks,
            end,
        } in rests
        {
            stream.update(blocks.as_flattened());
            stream.update(end);
            hashed.add(1, blocks.len() * BLOCK + end.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{Known, noise};
    use super::super::{Fips180, Rfc1321, Side};
    use super::*;

    /// Hashes messages whose first bytes have passed before.
    fn hash<F: Function>(
        backend: Backend,
        messages: &[(Vec<u8>, usize)],
    ) -> (Vec<F::Digest>, ByLanes) {
        let mut streams = vec![Stream::<F>::default(); messages.len()];
        let mut pieces = Vec::new();
        for (stream, (message, before)) in streams.iter_mut().zip(messages) {
            let (before, piece) = message.split_at(*before.min(&message.len()));
            stream.update(before);
            pieces.push(piece);
        }
        let mut hashed = ByLanes::default();
        backend.update(&mut streams, &pieces, &mut hashed);
        let counted: u64 = hashed.iter().map(|(_, bytes)| bytes).sum();
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        assert_eq!(counted, bytes as u64);
        let digests = streams.into_iter().map(Stream::finish).collect();
        (digests, hashed)
    }

    fn as_the_oracle<F: Known>(messages: &[(Vec<u8>, usize)]) -> Result<(), TestCaseError> {
        let want: Vec<_> = messages
            .iter()
            .map(|(message, _)| F::oracle(message))
            .collect();
        for backend in Backend::all() {
            let (got, _) = hash::<F>(backend, messages);
            prop_assert_eq!(&got, &want, "{:?}", backend);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn any_number_of_any_lengths(
            seeds in proptest::collection::vec((any::<u64>(), length(), 0usize..200), 0..40),
        ) {
            let messages: Vec<_> = seeds
                .iter()
                .map(|(seed, length, before)| (noise(*seed, *length), *before))
                .collect();
            as_the_oracle::<Rfc1321>(&messages)?;
            as_the_oracle::<Fips180>(&messages)?;
        }
    }

    /// Mostly short, and often several of one length; without optimisation the kernels are slow.
    fn length() -> impl Strategy<Value = usize> {
        prop_oneof![8 => 0..4096usize, 4 => Just(8192), 1 => 0..40 * 1024usize]
    }

    /// Bytes that were hashed one after the other.
    fn alone<F: Function>(backend: Backend, messages: &[(Vec<u8>, usize)]) -> u64 {
        let (_, hashed) = hash::<F>(backend, messages);
        let few = |lanes: &usize| *lanes < backend.pays::<F>();
        let alone = hashed.iter().filter(|(lanes, _)| few(lanes));
        alone.map(|(_, bytes)| bytes).sum()
    }

    fn hardly_alone<F: Function>() {
        for backend in Backend::all() {
            let Side { lanes, pays, .. } = backend.side::<F>();
            if lanes == 1 {
                continue;
            }
            let most = ((pays - 1) * TURN * BLOCK) as u64;
            for streams in [pays, 9, 12, 17, 18, 24] {
                let mut messages = vec![(noise(1, 4 * TURN * BLOCK), 0); streams];
                assert!(
                    alone::<F>(backend, &messages) <= most,
                    "{backend:?} {streams}"
                );
                // The end of a chunk before those, and the beginning of one behind them.
                messages.push((noise(1, 3 * TURN * BLOCK), 0));
                messages.push((noise(1, TURN * BLOCK), 0));
                assert!(
                    alone::<F>(backend, &messages) <= most,
                    "{backend:?} {streams} and two"
                );
            }
        }
    }

    #[test]
    fn hardly_anything_is_left_to_be_hashed_alone() {
        hardly_alone::<Rfc1321>();
        hardly_alone::<Fips180>();
    }
}
