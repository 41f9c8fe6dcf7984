//! The tile registers of AMX, which Intel's server processors have from Sapphire Rapids on: eight tiles of up to 16 rows of
//! 64 bytes. The compiler has no stable intrinsics for them, so what uses them is assembly.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};

/// The most rows of a tile.
pub(super) const ROWS: usize = 16;
/// Products of bf16, by their bit of the processor's leaf 7.
pub(super) const BF16: u32 = 1 << 22;
/// Products of int8, likewise.
pub(super) const INT8: u32 = 1 << 25;

/// Whether the processor has tiles with these products and the system lets this process use them.
pub(super) fn are_available(products: u32) -> bool {
    const LEAF: u32 = 7;
    const TILES: u32 = 1 << 24;
    let wanted = TILES | products;
    // SAFETY: every x86-64 processor has the instruction; newer compilers know it.
    #[allow(unused_unsafe, reason = "unsafe in older compilers")]
    let has = unsafe { __cpuid(0).eax >= LEAF && __cpuid_count(LEAF, 0).edx & wanted == wanted };
    // The loops around the tiles are compiled for AVX-512, which all these processors have.
    has && is_x86_feature_detected!("avx512f") && are_permitted()
}

/// Asks Linux for the tile registers, which a process does not have from the start.
#[cfg(target_os = "linux")]
fn are_permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let result: i64;
    // SAFETY: the system call takes two numbers, touches no memory of ours and changes no registers but these.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn are_permitted() -> bool {
    false
}

/// The shapes of the tile registers, as `ldtilecfg` reads them.
#[repr(C, align(64))]
pub(super) struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

impl Shapes {
    /// Sums in registers 0 to 3, activations of so many rows in 4 and 5, weights in 6 and 7.
    pub(super) fn new([upper, lower]: [usize; 2]) -> Self {
        let (upper, lower, weights) = (upper as u8, lower as u8, ROWS as u8);
        let mut shapes =
            Self { palette: 1, start_row: 0, reserved: [0; 14], bytes_per_row: [0; 16], rows: [0; 16] };
        shapes.bytes_per_row[..8].fill(64);
        shapes.rows[..8].copy_from_slice(&[upper, upper, lower, lower, upper, lower, weights, weights]);
        shapes
    }
}
