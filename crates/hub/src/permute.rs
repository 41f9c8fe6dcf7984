//! Tensors of a checkpoint from ours and back: transposed, stacked, head by head.

use crate::keys::How;

/// The parts of a tensor, each `[in, out]` or `[out]`.
pub(crate) struct Parts<'a> {
    pub(crate) shapes: Vec<&'a [usize]>,
    pub(crate) how: How,
    /// Number of heads, for what goes head by head.
    pub(crate) n_heads: usize,
}

impl Parts<'_> {
    /// The shape of the whole; none where the parts do not go together.
    pub(crate) fn whole(&self) -> Option<Vec<usize>> {
        let first = *self.shapes.first()?;
        let outs: usize = self.shapes.iter().filter_map(|shape| shape.last()).sum();
        match (self.how, first) {
            (How::Same | How::Reversed, shape) => Some(shape.to_vec()),
            (How::Row, [n]) => Some(vec![1, *n]),
            (_, [_]) => Some(vec![outs]),
            (How::SideBySide, [d_in, _]) => Some(vec![*d_in, outs]),
            (_, [d_in, _]) => Some(vec![outs, *d_in]),
            _ => None,
        }
    }

    /// The values of a part.
    pub(crate) fn take(&self, whole: Vec<f32>, part: usize) -> Vec<f32> {
        if matches!(self.how, How::Same | How::Row) {
            return whole;
        }
        let mut values = vec![0.0; self.shapes[part].iter().product()];
        self.cells(part, |ours, theirs| values[ours] = whole[theirs]);
        values
    }

    /// Puts the values of a part into the whole.
    pub(crate) fn put(&self, whole: &mut [f32], part: usize, values: &[f32]) {
        self.cells(part, |ours, theirs| whole[theirs] = values[ours]);
    }

    /// The index of each value in the part and in the whole.
    fn cells(&self, part: usize, mut at: impl FnMut(usize, usize)) {
        let of_part = self.shapes[part];
        let (d_in, d_out) = match of_part {
            [d_in, d_out] => (*d_in, *d_out),
            shape => (1, shape.iter().product()),
        };
        let outs: Vec<usize> = self.shapes.iter().filter_map(|shape| shape.last().copied()).collect();
        let (before, all) = (outs[..part].iter().sum::<usize>(), outs.iter().sum::<usize>());
        for o in 0..d_out {
            let place = match self.how {
                How::ByHead => {
                    let d_head = d_out / self.n_heads.max(1);
                    let (head, row) = (o / d_head.max(1), o % d_head.max(1));
                    head * (all / self.n_heads.max(1)) + before / self.n_heads.max(1) + row
                }
                _ => before + o,
            };
            for i in 0..d_in {
                let ours = i * d_out + o;
                let theirs = match self.how {
                    How::Same | How::Row => ours,
                    How::Reversed => (d_in - 1 - i) * d_out + o,
                    How::SideBySide => i * all + place,
                    _ => place * d_in + i,
                };
                at(ours, theirs);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Parts;
    use crate::keys::How;

    /// What goes in comes out, for every way and any sizes.
    #[test]
    fn every_way_is_reversible() {
        let matrices: [&[usize]; 3] = [&[5, 6], &[5, 6], &[5, 6]];
        let vectors: [&[usize]; 3] = [&[6], &[6], &[6]];
        for how in [How::Stacked, How::SideBySide, How::ByHead] {
            for shapes in [matrices, vectors] {
                let parts = Parts { shapes: shapes.to_vec(), how, n_heads: 3 };
                let len: usize = parts.whole().expect("a shape").iter().product();
                let whole: Vec<f32> = (0..len).map(|i| i as f32).collect();
                let mut again = vec![f32::NAN; len];
                for part in 0..3 {
                    parts.put(&mut again, part, &parts.take(whole.clone(), part));
                }
                assert_eq!(again, whole, "{how:?}");
            }
        }
        let parts = Parts { shapes: vec![&[2, 3]], how: How::Transposed, n_heads: 1 };
        assert_eq!(parts.whole(), Some(vec![3, 2]));
        assert_eq!(parts.take(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 0), [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
        let parts = Parts { shapes: vec![&[3, 2]], how: How::Reversed, n_heads: 1 };
        assert_eq!(parts.whole(), Some(vec![3, 2]));
        let (rows, mut again) = ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], vec![f32::NAN; 6]);
        let reversed = parts.take(rows.to_vec(), 0);
        assert_eq!(reversed, [4.0, 5.0, 2.0, 3.0, 0.0, 1.0]);
        parts.put(&mut again, 0, &reversed);
        assert_eq!(again, rows);
    }

    #[test]
    fn by_head_is_head_after_head() {
        // Two heads of width 1: q0 k0 v0 q1 k1 v1.
        let parts = Parts { shapes: vec![&[2], &[2], &[2]], how: How::ByHead, n_heads: 2 };
        let whole = vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(parts.take(whole.clone(), 0), [0.0, 3.0]);
        assert_eq!(parts.take(whole, 2), [2.0, 5.0]);
    }
}
