//! The pause program: does nothing, so that its container holds the namespaces that others share.
//!
//! The daemon's build script compiles this file by itself, as a program of its own: it is the only
//! file of its image, where there is no C library, no loader and nothing to write to. What it asks
//! of the kernel it must therefore ask in the kernel's own way, which is the one unsafe code here.
//!
//! 1. On SIGTERM or SIGINT it exits with 0.
//! 2. Where its process namespace is shared, it is process 1 there, and has inherited a process
//!    that ended: it takes note, or the dead would fill the table of processes.

#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!(
    "the pause program runs on x86_64 and aarch64 only: for another architecture write its \
     `_start`, `system_call` and numbers in agent/pause/pause.rs"
);

use core::{
    arch::{asm, naked_asm},
    panic::PanicInfo,
};

/// The kernel's numbers for what is asked of it; each architecture has its own.
#[cfg(target_arch = "x86_64")]
mod number {
    pub const RT_SIGPROCMASK: usize = 14;
    pub const WAIT4: usize = 61;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const EXIT_GROUP: usize = 231;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const EXIT_GROUP: usize = 94;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const WAIT4: usize = 260;
}

const SIGINT: isize = 2;
const SIGTERM: isize = 15;
const SIGCHLD: isize = 17;

/// A set of signals as the kernel takes it, a bit for each from 1.
static AWAITED: u64 = 1 << (SIGINT - 1) | 1 << (SIGTERM - 1) | 1 << (SIGCHLD - 1);
const SET_BYTES: usize = size_of::<u64>();

const SIG_BLOCK: usize = 0;
const ANY_CHILD: usize = usize::MAX;
const WNOHANG: usize = 1;
const EINTR: isize = 4;

/// `EX_OSERR`: the kernel refused what it has to grant.
const EXIT_REFUSED: usize = 71;

/// The kernel jumps here, with the stack aligned as before a call and no address to return to.
// SAFETY: nothing else is linked, so that no other `_start` can be meant.
#[cfg(target_arch = "x86_64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn _start() -> ! {
    naked_asm!("call {run}", run = sym run)
}

/// The kernel jumps here, with the stack aligned as before a call and no address to return to.
// SAFETY: nothing else is linked, so that no other `_start` can be meant.
#[cfg(target_arch = "aarch64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn _start() -> ! {
    naked_asm!("b {run}", run = sym run)
}

extern "C" fn run() -> ! {
    let awaited = &raw const AWAITED as usize;
    // The kernel drops what process 1 neither handles nor blocks. Blocked, they are kept for us.
    // SAFETY: the set is read, lives for ever and is as long as we say; the old one is not asked.
    let blocked =
        unsafe { system_call(number::RT_SIGPROCMASK, [SIG_BLOCK, awaited, 0, SET_BYTES]) };
    if blocked < 0 {
        exit(EXIT_REFUSED);
    }
    loop {
        // SAFETY: as above; no details of the signal are asked, and no time limit is given.
        let signal = unsafe { system_call(number::RT_SIGTIMEDWAIT, [awaited, 0, 0, SET_BYTES]) };
        match signal {
            SIGTERM | SIGINT => exit(0),
            SIGCHLD => reap(),
            // Stopped and continued, or traced.
            interrupted if interrupted == -EINTR => {}
            // To ask for ever what is refused would keep a core busy.
            _ => exit(EXIT_REFUSED),
        }
    }
}

/// One signal may stand for many that ended.
fn reap() {
    // SAFETY: no address is given: neither the status nor what the child used is asked.
    while unsafe { system_call(number::WAIT4, [ANY_CHILD, 0, WNOHANG, 0]) } > 0 {}
}

fn exit(code: usize) -> ! {
    loop {
        // SAFETY: it takes no address, and does not return.
        unsafe { system_call(number::EXIT_GROUP, [code, 0, 0, 0]) };
    }
}

/// Asks the kernel; what is below zero is the number of an error.
///
/// # Safety
///
/// Whatever the kernel takes for an address must be good for what it does there.
#[cfg(target_arch = "x86_64")]
unsafe fn system_call(number: usize, [a, b, c, d]: [usize; 4]) -> isize {
    let answer;
    // SAFETY: these are the registers of the kernel's convention, and the two that it overwrites;
    // it leaves our stack alone. The addresses are the caller's to vouch for.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => answer,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer
}

/// Asks the kernel; what is below zero is the number of an error.
///
/// # Safety
///
/// Whatever the kernel takes for an address must be good for what it does there.
#[cfg(target_arch = "aarch64")]
unsafe fn system_call(number: usize, [a, b, c, d]: [usize; 4]) -> isize {
    let answer;
    // SAFETY: these are the registers of the kernel's convention; it leaves our stack alone. The
    // addresses are the caller's to vouch for.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => answer,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            options(nostack),
        );
    }
    answer
}

/// The language wants one; nothing above can panic.
#[panic_handler]
fn on_panic(_: &PanicInfo<'_>) -> ! {
    exit(EXIT_REFUSED)
}
