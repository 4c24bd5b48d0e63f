//! The table of scenarios that every language plays, in Rust.
//!
//! `scenarios/make.py` says what it is and writes it. An answer is told as the
//! table tells it, and must have all that the table says.

#![cfg(not(loom))]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use mavera_rl::http::{Flavour, Response};
use mavera_rl::plan::{Plan, class_id};
use mavera_rl::{
    Acquired, Admission, ClockKind, Decision, Error, Limiter, OnFull, Options, Outcome, Permit,
    Policy, Released, Request,
};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

const TABLE: &str = include_str!("scenarios/scenarios.json");

#[test]
fn every_scenario_of_the_table_is_answered_as_it_says() {
    let table: Value = serde_json::from_str(TABLE).unwrap();
    let mut wrong = String::new();
    let mut steps = 0;
    for scenario in table.as_array().unwrap() {
        let mut player = Player::new(&scenario["options"]);
        for (number, step) in scenario["steps"].as_array().unwrap().iter().enumerate() {
            let got = player.play(step).unwrap_or_else(|error| told_error(&error));
            for (what, want, got) in differences(&step["expect"], &got) {
                wrong += &format!(
                    "{}: step {number}, {}: {what} is {got}, not {want}\n",
                    scenario["name"], step["do"]
                );
            }
            steps += 1;
        }
    }
    assert!(steps > 500, "{steps} steps are not the whole table");
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// What of `want` is something else in `got`.
fn differences<'v>(want: &'v Value, got: &'v Value) -> Vec<(String, &'v Value, &'v Value)> {
    match want {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, want)| &got[name.as_str()] != *want)
            .map(|(name, want)| (name.clone(), want, &got[name.as_str()]))
            .collect(),
        _ if want == got => vec![],
        _ => vec![("the batch".to_owned(), want, got)],
    }
}

fn told_error(error: &Error) -> Value {
    let kind = match error {
        Error::Cost { .. } => "cost",
        Error::Limit { .. } => "limit",
        Error::Window { .. } => "window",
        Error::Tier => "tier",
        Error::Max { .. } => "max",
        other => panic!("{other}"),
    };
    json!({ "error": kind })
}

/// A region, and the permits that a scenario has taken by name.
struct Player {
    limiter: Limiter<'static>,
    plan: Plan,
    permits: HashMap<String, Permit>,
}

impl Player {
    fn new(options: &Value) -> Self {
        Self {
            limiter: Limiter::private(&options_of(options)).unwrap(),
            plan: Plan::default(),
            permits: HashMap::new(),
        }
    }

    fn play(&mut self, step: &Value) -> Result<Value, Error> {
        let key = key(&step["key"]);
        match text(&step["do"]) {
            "check" => {
                let (policy, cost) = (self.policy(step)?, cost(step));
                let decision = self.limiter.check_at(&key, policy, cost, at(step))?;
                Ok(told(&decision, None, at(step)))
            }
            "peek" => {
                let policy = self.policy(step)?;
                let decision = self.limiter.peek_at(&key, policy, 1, at(step))?;
                Ok(told(&decision, None, at(step)))
            }
            "check_many" => self.check_many(step),
            "admit" => self.admit(&key, step),
            "acquire" => self.acquire(&key, step),
            "release" => {
                let permit = self.permits.get(text(&step["permit"])).copied();
                let released = self.limiter.release(permit.unwrap());
                Ok(json!({ "released": released == Released::Freed }))
            }
            "in_flight" => {
                let class = class_id(text(&step["class"]));
                Ok(json!({ "in_flight": self.limiter.in_flight(&key, class) }))
            }
            other => panic!("what is {other}?"),
        }
    }

    fn check_many(&self, step: &Value) -> Result<Value, Error> {
        let policy = self.policy(step)?;
        let keys: Vec<_> = step["keys"].as_array().unwrap().iter().map(key).collect();
        let request = |key| Request {
            key,
            policy,
            cost: 1,
        };
        let requests: Vec<_> = keys.iter().map(|key| request(key.as_slice())).collect();
        let mut answers = vec![Err(Error::Tier); requests.len()];
        let answered = self
            .limiter
            .check_many_at(&requests, at(step), &mut answers);
        assert_eq!(answered, requests.len());
        let mut all = Vec::new();
        for answer in answers {
            let d = answer?;
            let outcome = outcome(d.outcome);
            all.push(json!([outcome, d.used, d.remaining(), d.retry_after_ms]));
        }
        Ok(all.into())
    }

    fn admit(&mut self, key: &[u8], step: &Value) -> Result<Value, Error> {
        let target = text(&step["target"]).as_bytes();
        let Admission {
            decision,
            endpoint,
            permit,
        } = match step.get("tier") {
            Some(tier) => {
                self.limiter
                    .admit_at(&self.plan, key, Some(text(tier)), target, at(step))?
            }
            None => {
                let policy = self.policy(step)?;
                self.limiter
                    .admit_policy_at(&self.plan, key, policy, target, at(step))?
            }
        };
        let mut told = told(&decision, endpoint.map(|e| &*e.path), at(step));
        let holds = permit.as_ref().is_some_and(|p| !p.is_untracked());
        let fields = told.as_object_mut().unwrap();
        fields.insert("permit".to_owned(), holds.into());
        if let Some(permit) = permit {
            self.permits.insert(name(step), permit.into_permit());
        }
        Ok(told)
    }

    fn acquire(&mut self, key: &[u8], step: &Value) -> Result<Value, Error> {
        let (class, max) = (class_id(text(&step["class"])), number(&step["max"]));
        let outcome = match self.limiter.acquire(key, class, max, 0)? {
            Acquired::Held(held) => {
                self.permits.insert(name(step), held.into_permit());
                "allowed"
            }
            Acquired::Busy { in_flight } => {
                assert!(in_flight >= max);
                "busy"
            }
            Acquired::Full => "full",
        };
        Ok(json!({ "outcome": outcome }))
    }

    fn policy(&self, step: &Value) -> Result<Policy, Error> {
        match step.get("tier") {
            Some(tier) => self.plan.policy(text(tier)).ok_or(Error::Tier),
            None => Policy::new(number(&step["limit"]), number(&step["window_ms"])),
        }
    }
}

fn told(decision: &Decision, endpoint: Option<&str>, at: u64) -> Value {
    let response = Response::new(decision, at).on(endpoint);
    let mut body = vec![0; response.body(&mut [])];
    response.body(&mut body);
    json!({
        "outcome": outcome(decision.outcome),
        "limit": decision.policy.limit(),
        "used": decision.used,
        "remaining": decision.remaining(),
        "retry_after_ms": decision.retry_after_ms,
        "retry_after_s": decision.retry_after_s,
        "reset_after_ms": decision.reset_after_ms,
        "untracked": decision.untracked,
        "in_flight": decision.in_flight,
        "max_in_flight": decision.max_in_flight,
        "endpoint": endpoint,
        "headers": {
            "legacy": headers(&response, Flavour::Legacy),
            "ietf": headers(&response, Flavour::Ietf),
        },
        "body": String::from_utf8(body).unwrap(),
    })
}

fn headers(response: &Response<'_>, flavour: Flavour) -> Value {
    let mut all = Map::new();
    let mut value = [0; 128];
    while let Some((name, length)) = response.header(flavour, all.len(), &mut value) {
        let value = std::str::from_utf8(value.get(..length).unwrap()).unwrap();
        let before = all.insert(name.to_str().unwrap().to_owned(), value.into());
        assert_eq!(before, None, "the same header twice");
    }
    all.into()
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Allowed => "allowed",
        Outcome::Limited => "limited",
        Outcome::Busy => "busy",
        Outcome::Full => "full",
    }
}

fn options_of(given: &Value) -> Options {
    let mut options = Options::new().keys(1000).clock(ClockKind::Caller);
    for (name, value) in given.as_object().unwrap() {
        options = match name.as_str() {
            "keys" => options.keys(number(value).into()),
            "cells" => options.cells(number(value)),
            "permit_keys" => options.permit_keys(number(value).into()),
            "permit_cells" => options.permit_cells(number(value)),
            "on_full" if value == "allow" => options.on_full(OnFull::Allow),
            other => panic!("what is {other}?"),
        };
    }
    options
}

/// Text, or any bytes in hexadecimal digits.
fn key(value: &Value) -> Vec<u8> {
    let Some(digits) = value.get("hex") else {
        return value.as_str().unwrap_or_default().into();
    };
    let pairs = text(digits).as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}

fn cost(step: &Value) -> u32 {
    step.get("cost").map_or(1, number)
}

/// What a step calls the permit that it may take.
fn name(step: &Value) -> String {
    step["permit"].as_str().unwrap_or_default().to_owned()
}

fn at(step: &Value) -> u64 {
    step["at"].as_u64().unwrap()
}

fn number(value: &Value) -> u32 {
    value.as_u64().unwrap().try_into().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
