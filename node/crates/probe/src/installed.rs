//! What this thread was given to ask.

use std::cell::RefCell;
use std::rc::Rc;

use crate::{Bug, Seen};

/// Who is told and asked.
pub trait Probe {
    /// See [`crate::reached`].
    fn reached(&self, mark: &'static str);
    /// See [`crate::tell`].
    fn tell(&self, seen: Seen);
    /// See [`crate::buggify`].
    fn buggify(&self, site: &'static str) -> bool;
    /// The bug that is planted.
    fn planted(&self) -> Option<Bug>;
}

thread_local! {
    static PROBE: RefCell<Option<Rc<dyn Probe>>> = const { RefCell::new(None) };
}

/// Ends what [`install`] began when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Installed(());

impl Drop for Installed {
    fn drop(&mut self) {
        // An error means that the thread is ending, and what it was given with it.
        let _ = PROBE.try_with(|known| known.borrow_mut().take());
    }
}

/// Has this thread ask `probe` from now on.
pub fn install(probe: Rc<dyn Probe>) -> Installed {
    PROBE.with(|known| *known.borrow_mut() = Some(probe));
    Installed(())
}

pub(crate) fn ask<T>(otherwise: T, question: impl FnOnce(&dyn Probe) -> T) -> T {
    let probe = PROBE.try_with(|known| known.borrow().clone());
    match probe {
        Ok(Some(probe)) => question(&*probe),
        Ok(None) | Err(_) => otherwise,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Everything;

    impl Probe for Everything {
        fn reached(&self, _mark: &'static str) {}

        fn tell(&self, _seen: Seen) {}

        fn buggify(&self, site: &'static str) -> bool {
            site == "here"
        }

        fn planted(&self) -> Option<Bug> {
            Some(Bug::AnswerBeforeSync)
        }
    }

    #[test]
    fn only_a_thread_that_was_given_a_probe_asks_it() {
        assert!(!crate::buggify("here"));
        let installed = install(Rc::new(Everything));
        assert!(crate::buggify("here") && !crate::buggify("there") && crate::planted(Bug::AnswerBeforeSync));
        let elsewhere = std::thread::scope(|scope| scope.spawn(|| crate::buggify("here")).join());
        assert!(matches!(elsewhere, Ok(false)));
        drop(installed);
        assert!(!crate::buggify("here"));
    }
}
