//! Two threads that wait for work, each on a core of its own.
//!
//! They are started once: what is measured begins at a barrier, when both
//! have long been running. Left to the scheduler, both may share one core of
//! a busy machine for a whole turn, and two threads look like one.

#![expect(unsafe_code, reason = "cores and processor time are libc's")]

use std::cell::Cell;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

/// Makes so many requests as the thread of a number, 0 or 1.
pub(crate) type Work = Arc<dyn Fn(u64, u64) + Send + Sync>;

#[derive(Clone)]
struct Order {
    work: Work,
    requests: u64,
    start: Arc<Barrier>,
}

/// One thread's part of an order.
struct Part {
    begun: Instant,
    ended: Instant,
    processor: Duration,
}

/// How long an order took.
#[derive(Clone, Copy)]
pub(crate) struct Took {
    /// From when the first thread began until the last was done.
    pub(crate) wall: Duration,
    /// The longest that a thread ran: as if nobody else were on its core.
    pub(crate) processor: Duration,
}

/// The threads, and what they report.
pub(crate) struct Crew {
    orders: Vec<Sender<Order>>,
    done: Receiver<Part>,
    /// Processor time and wall time of all parts of two threads' orders.
    spent: Cell<(Duration, Duration)>,
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
            spent: Cell::default(),
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
        let begun = parts.iter().map(|part| part.begun).min().unwrap();
        let ended = parts.iter().map(|part| part.ended).max().unwrap();
        let processor = parts.iter().map(|part| part.processor);
        if threads == 2 {
            let (ran, passed) = self.spent.get();
            let wall: Duration = parts.iter().map(|part| part.ended - part.begun).sum();
            let here: Duration = processor.clone().sum();
            self.spent.set((ran + here, passed + wall));
        }
        Took {
            wall: ended - begun,
            processor: processor.max().unwrap(),
        }
    }

    /// The part of the time in which two threads really had their cores: below
    /// 1, others were on them, and wall times of two threads say little.
    pub(crate) fn share(&self) -> f64 {
        let (ran, passed) = self.spent.get();
        ran.as_secs_f64() / passed.as_secs_f64()
    }
}

fn carry_out(order: &Order, number: u64) -> Part {
    order.start.wait();
    let (begun, ran) = (Instant::now(), processor_time());
    (order.work)(number, order.requests);
    Part {
        processor: processor_time().saturating_sub(ran),
        begun,
        ended: Instant::now(),
    }
}

/// What this thread has run so far.
fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec into ours.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    let rest = u32::try_from(time.tv_nsec).unwrap();
    Duration::new(time.tv_sec.unsigned_abs(), rest)
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
