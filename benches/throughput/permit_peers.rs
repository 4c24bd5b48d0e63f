//! The peers of permits: one is taken and given back.
//!
//! tokio's semaphore has no keys, and is this process's alone: whoever has
//! many keys finds each one's semaphore first.
//!
//! pingora-limits counts by key in a sketch, four counters for each, found by
//! ahash. It may count too many, and leaves the limit to its caller.

use crate::contestant::{Contestant, key};
use crate::crew::Crew;
use crate::permits::MAX;
use pingora_limits::inflight::Inflight;
use std::hint::black_box;
use std::rc::Rc;
use tokio::sync::Semaphore;

/// What a peer's contestants are called.
pub(crate) struct Names {
    pub(crate) hot: &'static str,
    pub(crate) one_key_2: &'static str,
}

pub(crate) const TOKIO: Names = Names {
    hot: "tokio semaphore: permit",
    one_key_2: "tokio semaphore: permit, 2 threads on one",
};

pub(crate) const PINGORA: Names = Names {
    hot: "pingora-limits: permit",
    one_key_2: "pingora-limits: permit, 2 threads on one key",
};

trait Peer: Send + Sync + Sized + 'static {
    fn new() -> Self;
    /// Takes a permit, which is to be had, and gives it back.
    fn pair(&self);
}

impl Peer for Semaphore {
    fn new() -> Self {
        Self::new(MAX as usize)
    }

    #[inline(always)]
    fn pair(&self) {
        assert!(black_box(self.try_acquire()).is_ok());
    }
}

impl Peer for Inflight {
    fn new() -> Self {
        Self::new()
    }

    #[inline(always)]
    fn pair(&self) {
        let taken = black_box(self.incr(black_box(&key(7)), 1));
        assert!(taken.1 <= MAX as isize);
    }
}

fn of<P: Peer>(names: &Names, crew: &Rc<Crew>) -> Vec<Contestant> {
    let [one, two] = [(); 2].map(|()| P::new());
    vec![
        Contestant::new(names.hot, move |_| one.pair()),
        Contestant::on_threads(names.one_key_2, crew, 2, move |_| two.pair()),
    ]
}

pub(crate) fn tokio(crew: &Rc<Crew>) -> Vec<Contestant> {
    of::<Semaphore>(&TOKIO, crew)
}

pub(crate) fn pingora(crew: &Rc<Crew>) -> Vec<Contestant> {
    of::<Inflight>(&PINGORA, crew)
}
