//! AMX: tiles of 16 rows of 64 bytes, and an instruction that multiplies two of them, on Intel's server processors from
//! Sapphire Rapids on.
//!
//! The compiler has no stable intrinsics for it, so a whole tile of outputs is one block of assembly: no tile register lives
//! outside of it.

use std::arch::asm;

use super::panels::{Block, PANEL};
use super::product::Product;
use super::rows::{Bytes, Layout};
use crate::kernels::tiles::{self, Shapes};

/// Inputs that a tile holds of a row.
const INPUTS: usize = 64;
/// Blocks that a tile of weights holds.
const BLOCKS: usize = INPUTS / 4;
/// Outputs that are computed together: those of two tiles.
const OUTPUTS: usize = 32;

/// Whether the processor has AMX for int8 and the system lets this process use it.
pub(super) fn is_available() -> bool {
    tiles::are_available(tiles::INT8)
}

/// Whether so many rows and inputs are worth it and fill whole tiles.
pub(super) fn suits(rows: usize, d_in: usize) -> bool {
    rows >= 8 && d_in.is_multiple_of(INPUTS)
}

/// The outputs of the panels from `first` on.
///
/// # Safety
/// [`is_available`] must hold.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn columns(product: &Product<'_, Bytes, i32>, first: usize, y: &mut [&mut [f32]]) {
    let width = y.first().map_or(0, |row| row.len());
    let mut sums = [[0; PANEL]; Layout::ByRow.max_rows()];
    for idx in 0..width.div_ceil(PANEL) {
        let panel = product.panels.panel(first + idx);
        for group in &product.rows.groups {
            let words = product.rows.words(group);
            for from in (0..PANEL).step_by(OUTPUTS) {
                // SAFETY: the caller's.
                unsafe { tile(panel, words, group.len(), from, &mut sums) };
            }
            for (row, sums) in group.clone().zip(&mut sums) {
                let start = product.rows.starts[row];
                sums.iter_mut().for_each(|sum| *sum = sum.wrapping_add(start));
                let at = idx * PANEL;
                product.finish((first + idx) * PANEL, row, sums, &mut y[row][at..width.min(at + PANEL)]);
            }
        }
    }
}

/// The sums of `rows` rows, 2 to 32, and of the 32 outputs from `from` on.
///
/// # Safety
/// [`is_available`] must hold.
unsafe fn tile(
    panel: &[Block],
    words: &[Bytes],
    rows: usize,
    from: usize,
    sums: &mut [[i32; PANEL]; Layout::ByRow.max_rows()],
) {
    let steps = panel.len();
    let upper = rows.div_ceil(2);
    let shapes = Shapes::new([upper, rows - upper]);
    assert!((2..=sums.len()).contains(&rows) && from + OUTPUTS <= PANEL);
    assert!(steps >= BLOCKS && steps.is_multiple_of(BLOCKS) && words.len() == rows * steps);
    let (x, weights, to) = (words.as_ptr(), panel.as_ptr().cast::<u32>(), sums.as_mut_ptr().cast::<i32>());
    // SAFETY: the processor has the instructions. Each of steps / BLOCKS turns reads 16 words of each row of activations,
    // which are `steps` words long, and BLOCKS blocks, PANEL words apart, of which the panel has `steps`; in a block the words
    // from..from + OUTPUTS. `rows` rows of `sums` are written in the places from..from + OUTPUTS. The registers that are
    // written are declared, and the tiles are released.
    unsafe {
        asm!(
            "ldtilecfg [{shapes}]",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm6, [{weights} + {block}]",
            "tileloadd tmm4, [{upper} + {row}]",
            "tdpbsud tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{weights} + {block} + 64]",
            "tdpbsud tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{lower} + {row}]",
            "tdpbsud tmm2, tmm5, tmm6",
            "tdpbsud tmm3, tmm5, tmm7",
            "add {weights}, {turn}",
            "add {upper}, 64",
            "add {lower}, 64",
            "dec {turns}",
            "jnz 2b",
            "tilestored [{upper_sums} + {block}], tmm0",
            "tilestored [{upper_sums} + {block} + 64], tmm1",
            "tilestored [{lower_sums} + {block}], tmm2",
            "tilestored [{lower_sums} + {block} + 64], tmm3",
            "tilerelease",
            shapes = in(reg) &raw const shapes,
            weights = inout(reg) weights.add(from) => _,
            upper = inout(reg) x => _,
            lower = inout(reg) x.add(upper * steps) => _,
            row = in(reg) steps * 4,
            block = in(reg) PANEL * 4,
            turn = const BLOCKS * PANEL * 4,
            turns = inout(reg) steps / BLOCKS => _,
            upper_sums = in(reg) to.add(from),
            lower_sums = in(reg) to.add(upper * PANEL + from),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
