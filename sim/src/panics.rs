//! Panics of the simulated nodes. Tokio ends a task that panics and says nothing to anybody; here it is a violation.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static FIRST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Has panics noted from now on, on the thread that they happen on, and printed as ever.
pub fn note() {
    static NOTED: Once = Once::new();
    NOTED.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map_or_else(String::new, |place| format!("{}:{}", place.file(), place.line()));
            let message = panic.payload_as_str().unwrap_or_default();
            // An error means that the thread is ending.
            let _ = FIRST.try_with(|first| {
                first.borrow_mut().get_or_insert_with(|| format!("nobody panics at {place}: {message}"));
            });
            print(panic);
        }));
    });
}

/// The first panic on this thread, told once.
pub fn take() -> Option<String> {
    FIRST.with(|first| first.borrow_mut().take())
}
