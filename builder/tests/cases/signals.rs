//! Signals that a test sends to commands.

use std::sync::{Arc, atomic::AtomicBool};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    flag::register_conditional_default,
};

/// Lets commands that are started from here on take signals that this process was started without, as one in the background of a script
/// is: such a command rightly leaves them alone. This process keeps their default.
pub fn restore() {
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        register_conditional_default(signal, Arc::new(AtomicBool::new(true))).expect("a signal that can be taken");
    }
}
