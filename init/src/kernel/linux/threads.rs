//! Threads of the C library's. The standard library's bring a handle, a name, hooks and a table of guard pages for each, 5 KB of init
//! that nothing here asks for.

use std::{ffi::c_void, mem::MaybeUninit, ptr};

/// The length of a thread's stack. musl's own choice is half of it.
const STACK: usize = 256 << 10;

/// Threads that are joined when this is dropped, so what they borrow outlives them, whatever happens in between.
struct Threads(Vec<libc::pthread_t>);

impl Drop for Threads {
    fn drop(&mut self) {
        for thread in self.0.drain(..) {
            // SAFETY: it was started and is joined only here. Nobody reads its result.
            unsafe { libc::pthread_join(thread, ptr::null_mut()) };
        }
    }
}

/// Runs `work` on this thread and on up to `others` more, fewer where there is too little memory for them. Returns once all have finished.
pub(super) fn run<F: Fn() + Sync>(work: &F, others: usize) {
    extern "C" fn start<F: Fn() + Sync>(work: *mut c_void) -> *mut c_void {
        // SAFETY: the pointer is the reference that `run` got and hands over below, and `run` does not return before this thread ends.
        let work = unsafe { &*work.cast::<F>() };
        work();
        ptr::null_mut()
    }

    let mut threads = Threads(Vec::with_capacity(others));
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: initialised by the first call before the second one looks at them. Neither fails with this size.
    unsafe {
        libc::pthread_attr_init(attributes.as_mut_ptr());
        libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK);
    }
    for _ in 0..others {
        let mut thread = MaybeUninit::uninit();
        let argument = ptr::from_ref(work).cast_mut().cast();
        // SAFETY: the attributes are initialised; `start` takes its argument for the `F` that it is, and only reads it, which `Sync` allows.
        // A thread's name is written if it was started.
        let started = unsafe {
            match libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), start::<F>, argument) {
                0 => thread.assume_init(),
                _ => break,
            }
        };
        threads.0.push(started);
    }
    work();
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::{Condvar, Mutex},
        thread,
        time::Duration,
    };

    #[test]
    fn work_is_done_on_all_threads_at_once() {
        for others in 0..4 {
            let (seen, changed) = (Mutex::new(Vec::new()), Condvar::new());
            super::run(
                &|| {
                    let mut seen = seen.lock().unwrap();
                    seen.push(format!("{:?}", thread::current().id()));
                    changed.notify_all();
                    // Nobody leaves before everybody has come.
                    drop(
                        changed.wait_timeout_while(seen, Duration::from_secs(10), |seen| seen.len() <= others).unwrap(),
                    );
                },
                others,
            );
            let seen = seen.into_inner().unwrap();
            assert_eq!((seen.len(), seen.iter().collect::<BTreeSet<_>>().len()), (others + 1, others + 1));
        }
    }
}
