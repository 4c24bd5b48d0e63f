//! Permit and quota in one call.

#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "tests")]

use mavera_rl::http::Response;
use mavera_rl::plan::{Plan, class_id};
use mavera_rl::{Admission, ClockKind, Error, Limiter, OnFull, Options, Outcome, Policy};

const NOW: u64 = 1_000_000_000;
const VIDEO: &[u8] = b"/video-analyses?x=1";

fn limiter() -> Limiter<'static> {
    Limiter::private(&Options::new().keys(100).clock(ClockKind::Caller)).unwrap()
}

fn admit<'l, 'p>(limiter: &'l Limiter<'_>, plan: &'p Plan, path: &[u8]) -> Admission<'l, 'p> {
    limiter
        .admit_at(plan, b"key", Some("starter"), path, NOW)
        .unwrap()
}

fn video_in_flight(limiter: &Limiter<'_>) -> u32 {
    limiter.in_flight(b"key", class_id("/video-analyses"))
}

#[test]
fn an_admission_has_a_permit_and_charges_one_unit() {
    let (limiter, plan) = (limiter(), Plan::default());
    for used in 1..=3 {
        let admission = admit(&limiter, &plan, VIDEO);
        assert_eq!(admission.decision.outcome, Outcome::Allowed);
        assert_eq!(admission.decision.used, used);
        assert_eq!(admission.decision.in_flight, 1);
        assert_eq!(admission.decision.max_in_flight, 3);
        assert_eq!(&*admission.endpoint.unwrap().path, "/video-analyses");
        assert!(admission.permit.is_some());
    }
    assert_eq!(video_in_flight(&limiter), 0);
}

#[test]
fn a_refusal_for_what_is_in_flight_charges_no_quota() {
    let (limiter, plan) = (limiter(), Plan::default());
    let held: Vec<_> = (0..3).map(|_| admit(&limiter, &plan, VIDEO)).collect();
    assert_eq!(held.last().unwrap().decision.in_flight, 3);
    for _ in 0..5 {
        let refused = admit(&limiter, &plan, VIDEO);
        assert!(refused.permit.is_none());
        let decision = refused.decision;
        assert_eq!(decision.outcome, Outcome::Busy);
        assert_eq!((decision.in_flight, decision.max_in_flight), (3, 3));
        assert_eq!((decision.used, decision.remaining()), (3, 57));
        assert_eq!(decision.retry_after_s, 1);
        assert_eq!(decision.reset_after_ms, 1000);
        let mut body = [0; 300];
        let response = Response::new(&decision, 0).on(Some("/video-analyses"));
        let length = response.body(&mut body);
        let body = std::str::from_utf8(body.get(..length).unwrap()).unwrap();
        assert!(body.contains("concurrency_limit_exceeded") && body.contains("at most 3"));
    }
    // Others are not concerned.
    assert!(admit(&limiter, &plan, b"/mave/chat").permit.is_some());
    drop(held);
    assert!(admit(&limiter, &plan, VIDEO).permit.is_some());
}

#[test]
fn a_refusal_for_quota_leaves_nothing_in_flight_and_charges_nothing() {
    let (limiter, plan) = (limiter(), Plan::default());
    for _ in 0..60 {
        assert!(admit(&limiter, &plan, VIDEO).decision.is_allowed());
    }
    let refused = admit(&limiter, &plan, VIDEO);
    assert_eq!(refused.decision.outcome, Outcome::Limited);
    assert_eq!(refused.decision.retry_after_ms, 60_000);
    assert_eq!(refused.decision.used, 60);
    assert!(refused.permit.is_none());
    assert_eq!(refused.decision.in_flight, 0);
    assert_eq!(video_in_flight(&limiter), 0);
}

#[test]
fn a_refusal_for_both_waits_for_the_quota_too() {
    let (limiter, plan) = (limiter(), Plan::default());
    let _held: Vec<_> = (0..3).map(|_| admit(&limiter, &plan, VIDEO)).collect();
    for _ in 0..57 {
        assert!(admit(&limiter, &plan, b"/other").decision.is_allowed());
    }
    let refused = admit(&limiter, &plan, VIDEO).decision;
    assert_eq!(refused.outcome, Outcome::Busy);
    assert_eq!(refused.retry_after_s, 60);
    assert_eq!(refused.remaining(), 0);
}

#[test]
fn a_path_that_is_no_endpoint_has_a_quota_only() {
    let (limiter, plan) = (limiter(), Plan::default());
    let admission = admit(&limiter, &plan, b"/models");
    assert!(admission.decision.is_allowed());
    assert!(admission.endpoint.is_none() && admission.permit.is_none());
    assert_eq!(admission.decision.max_in_flight, 0);
}

#[test]
fn other_spellings_do_not_slip_past() {
    let (limiter, plan) = (limiter(), Plan::default());
    let spellings: [&[u8]; 6] = [
        b"/video-analyses",
        b"/video-analyses/",
        b"//video-analyses/7",
        b"/%76ideo-analyses?x",
        b"/x/../video-analyses",
        b"/video-analyses%2F7",
    ];
    let held: Vec<_> = spellings
        .iter()
        .map(|path| admit(&limiter, &plan, path))
        .collect();
    let allowed = held.iter().filter(|a| a.decision.is_allowed()).count();
    assert_eq!(allowed, 3);
}

#[test]
fn an_unknown_tier_or_key_is_an_error_that_takes_nothing() {
    let (limiter, plan) = (limiter(), Plan::default());
    let unknown = limiter.admit_at(&plan, b"key", Some("gold"), VIDEO, NOW);
    assert_eq!(unknown.unwrap_err(), Error::Tier);
    let unknown = limiter.admit_at(&plan, b"key", None, VIDEO, NOW);
    assert_eq!(unknown.unwrap_err(), Error::Tier);
    // The region has a clock of its caller's.
    let clockless = limiter.admit(&plan, b"key", Some("starter"), VIDEO);
    assert!(matches!(clockless, Err(Error::Clock { .. })));
    assert_eq!(video_in_flight(&limiter), 0);
    assert_eq!(admit(&limiter, &plan, VIDEO).decision.used, 1);
}

#[test]
fn a_table_without_room_for_a_permit_answers_by_policy() {
    for on_full in [OnFull::Deny, OnFull::Allow] {
        let options = Options::new().keys(10).on_full(on_full);
        let limiter = Limiter::private(&options.clock(ClockKind::Caller)).unwrap();
        let plan = Plan::default();
        let held: Vec<_> = (0..limiter.stats().permit_capacity)
            .map(|key| limiter.acquire(&key.to_le_bytes(), 1, 1, 0).unwrap())
            .collect();
        let admission = admit(&limiter, &plan, VIDEO);
        match on_full {
            OnFull::Deny => assert_eq!(admission.decision.outcome, Outcome::Full),
            OnFull::Allow => {
                assert!(admission.decision.is_allowed() && admission.decision.untracked);
            }
        }
        drop(held);
    }
}

#[test]
fn a_negotiated_policy_needs_no_entry_in_the_plan() {
    let (limiter, plan) = (limiter(), Plan::default());
    let policy = Policy::per_minute(2);
    let admit = |at| {
        let admission = limiter.admit_policy_at(&plan, b"key", policy, VIDEO, at);
        admission.unwrap().decision
    };
    assert_eq!((admit(NOW).remaining(), admit(NOW).remaining()), (1, 0));
    assert_eq!(admit(NOW).outcome, Outcome::Limited);
    assert_eq!(video_in_flight(&limiter), 0);
}
