//! Two threads that wait for work, each on a core of its own.
//!
//! They are started once: what is measured begins at a barrier, when both
//! have long been running. Left to the scheduler, both may share one core of
//! a busy machine for a whole turn, and two threads look like one.

#![expect(unsafe_code, reason = "cores are libc's")]

use crate::stopwatch::{Part, Stopwatch, Took};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread;

/// Makes so many requests as the thread of a number, 0 or 1.
pub(crate) type Work = Arc<dyn Fn(u64, u64) + Send + Sync>;

#[derive(Clone)]
struct Order {
    work: Work,
    requests: u64,
    start: Arc<Barrier>,
}

/// The threads, and what they report.
pub(crate) struct Crew {
    orders: Vec<Sender<Order>>,
    done: Receiver<Part>,
}

impl Crew {
    pub(crate) fn new() -> Self {
        let (report, done) = channel();
        let hire = |number| {
            let (order, orders) = channel::<Order>();
            let report = report.clone();
            thread::spawn(move || {
                stay_on_core(number);
                for order in orders {
                    if report.send(carry_out(&order, number)).is_err() {
                        break;
                    }
                }
            });
            order
        };
        Self {
            orders: (0..2).map(hire).collect(),
            done,
        }
    }

    /// The first `threads` of the crew make `requests` in all.
    pub(crate) fn run(&self, threads: usize, work: &Work, requests: u64) -> Took {
        let order = Order {
            work: work.clone(),
            requests: requests.div_ceil(threads as u64),
            start: Arc::new(Barrier::new(threads)),
        };
        for orders in self.orders.iter().take(threads) {
            orders.send(order.clone()).unwrap();
        }
        let parts: Vec<Part> = self.done.iter().take(threads).collect();
        Took::of(&parts)
    }
}

fn carry_out(order: &Order, number: u64) -> Part {
    order.start.wait();
    let watch = Stopwatch::start();
    (order.work)(number, order.requests);
    watch.stop()
}

/// Keeps this thread on the core of a number among those it may use; where
/// there are not so many, it stays free.
fn stay_on_core(number: u64) {
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: a set of cores is plain bits, and both calls only access ours.
    unsafe {
        let (mut allowed, mut one) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sched_getaffinity(0, size, &mut allowed);
        let cores = 0..libc::CPU_SETSIZE as usize;
        let core = cores
            .filter(|&core| libc::CPU_ISSET(core, &allowed))
            .nth(number as usize);
        if let Some(core) = core {
            libc::CPU_SET(core, &mut one);
            libc::sched_setaffinity(0, size, &one);
        }
    }
}
