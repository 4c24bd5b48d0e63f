//! Plan files.
//!
//! ```toml
//! window = "60s"                 # default window; ms, or "500ms" "60s" "5m" "1h"
//! [tiers]
//! starter = 60                   # requests per window
//! trial = { limit = 5, window = "10s" }
//! [endpoints]
//! "/mave/chat" = 10              # requests of one key in flight
//! "/batch" = { in_flight = 2, also = ["/*/batch", "/v2/jobs"], lease = "5m" }
//! [keys]                         # API keys, for gateways that keep them here
//! "key-one" = "starter"
//! "key-two" = { tier = "enterprise", limit = 5000 }   # negotiated
//! ```
//!
//! An endpoint's path is a pattern, and `also` are further patterns of the same
//! endpoint: they share its limit. A pattern matches all paths that begin with
//! its segments; a segment `*` is any one segment, and a `*` inside a segment is
//! only itself. Patterns begin with `/` and have at most 16 segments, none of
//! them empty, `.` or `..`, and no NUL, `?`, `#`, `%` or `;`; a trailing slash
//! is ignored. No two endpoints have the same. After its `lease`, at most 24
//! hours, a permit that was not given back may be taken back; without one, never.
//!
//! A part that is missing is the contract's, but for `keys`. Every error names
//! the file, the line and the key.

use super::MAX_IN_FLIGHT;
use super::path::check;
use super::table::{Endpoint, Grant, Pattern, Plan, Tier, compile};
use crate::limit::Policy;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong with a plan file.
#[derive(Debug)]
#[non_exhaustive]
pub enum PlanError {
    /// It cannot be read.
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no TOML, or not a plan.
    Content {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key, dotted; empty where the file is no TOML.
        key: String,
        /// What is wrong and what it must be.
        why: String,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => {
                write!(f, "{}: cannot read the plan: {source}", path.display())
            }
            Self::Content {
                path,
                line,
                key,
                why,
            } if key.is_empty() => {
                write!(f, "{}:{line}: {why}", path.display())
            }
            Self::Content {
                path,
                line,
                key,
                why,
            } => {
                write!(f, "{}:{line}: {key}: {why}", path.display())
            }
        }
    }
}

impl std::error::Error for PlanError {}

/// A fault and where it is: the bytes, the key, the words.
struct Fault(Range<usize>, String, String);

/// Longest lease of a permit: 24 hours.
const MAX_LEASE_MS: u32 = 86_400_000;

type Entry<'a, 'b> = (String, &'b Spanned<DeValue<'a>>);

impl Plan {
    /// Reads a plan from a TOML file.
    ///
    /// # Errors
    /// [`PlanError`] names file, line and key.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, PlanError> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(|source| PlanError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).map_err(|Fault(span, key, why)| PlanError::Content {
            path: path.to_owned(),
            line: line_of(&text, span.start),
            key,
            why,
        })
    }

    fn parse(text: &str) -> Result<Self, Fault> {
        let root = DeTable::parse(text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            // The parser's words do not name what it stumbled over.
            let at = text.get(span.clone()).unwrap_or_default().trim();
            let why = match at {
                "" => error.message().to_owned(),
                at => format!("{}: {at}", error.message()),
            };
            Fault(span, String::new(), why)
        })?;
        let root = root.get_ref();
        let default = match root.get("window") {
            Some(value) => milliseconds(&("window".into(), value))?,
            None => 60_000,
        };
        let contract = Self::default();
        let mut plan = Self {
            tiers: Vec::new(),
            endpoints: Vec::new(),
            keys: HashMap::new(),
        };
        for (name, value) in root {
            let entry = (name.get_ref().to_string(), value);
            match entry.0.as_str() {
                "window" => {}
                "tiers" => plan.read_tiers(&entry, default)?,
                "endpoints" => plan.read_endpoints(&entry)?,
                // Last: it speaks of tiers.
                "keys" => {}
                _ => {
                    return Err(unknown(
                        name.span(),
                        &entry.0,
                        "window, tiers, endpoints or keys",
                    ));
                }
            }
        }
        if !root.contains_key("tiers") {
            plan.tiers = contract.tiers;
        }
        if !root.contains_key("endpoints") {
            plan.endpoints = contract.endpoints;
        }
        if let Some(value) = root.get("keys") {
            plan.read_keys(&("keys".into(), value), default)?;
        }
        Ok(plan)
    }

    fn read_tiers(&mut self, entry: &Entry<'_, '_>, default: u32) -> Result<(), Fault> {
        for entry in entries(entry)? {
            let name = within(&entry.0, "tiers").to_owned();
            let policy = match entry.1.get_ref() {
                DeValue::Table(_) => {
                    let fields = Fields::read(&entry, &["limit", "window"])?;
                    let limit = fields.number("limit")?.ok_or_else(|| {
                        fault(
                            &entry,
                            "needs a limit, as in { limit = 60, window = \"60s\" }",
                        )
                    })?;
                    policy(&entry, limit, fields.window()?.unwrap_or(default))?
                }
                _ => policy(&entry, number(&entry)?, default)?,
            };
            self.tiers.push(Tier::new(&name, policy));
        }
        if self.tiers.is_empty() {
            return Err(fault(entry, "needs at least one tier"));
        }
        Ok(())
    }

    fn read_endpoints(&mut self, entry: &Entry<'_, '_>) -> Result<(), Fault> {
        for entry in entries(entry)? {
            let path = within(&entry.0, "endpoints");
            let mut patterns = vec![self.pattern(&entry, path)?];
            let mut lease_ms = 0;
            let max = match entry.1.get_ref() {
                DeValue::Table(_) => {
                    let fields = Fields::read(&entry, &["in_flight", "also", "lease"])?;
                    if let Some(also) = fields.get("also") {
                        patterns.extend(self.read_also(also)?);
                    }
                    if let Some(lease) = fields.get("lease") {
                        lease_ms = milliseconds(lease)?;
                        if lease_ms > MAX_LEASE_MS {
                            return Err(fault(lease, "a lease must be at most 24 hours"));
                        }
                    }
                    let max = fields.get("in_flight").ok_or_else(|| {
                        fault(
                            &entry,
                            "needs in_flight, as in { in_flight = 10, lease = \"5m\" }",
                        )
                    })?;
                    in_flight(max)?
                }
                _ => in_flight(&entry)?,
            };
            let endpoint = Endpoint {
                lease_ms,
                patterns: patterns.into(),
                ..Endpoint::new(path, max)
            };
            // Regions know endpoints by these numbers alone.
            let alike = |other: &&Endpoint| other.class_id == endpoint.class_id;
            if let Some(other) = self.endpoints.iter().find(alike) {
                let why = format!(
                    "has by chance the class id of {}; give it another path, and this one as also",
                    other.path
                );
                return Err(fault(&entry, &why));
            }
            self.endpoints.push(endpoint);
        }
        Ok(())
    }

    fn read_also(&self, entry: &Entry<'_, '_>) -> Result<Vec<Pattern>, Fault> {
        let wrong = |entry| fault(entry, "must be a list of patterns, as in [\"/v2/chat\"]");
        let DeValue::Array(list) = entry.1.get_ref() else {
            return Err(wrong(entry));
        };
        let mut patterns = Vec::new();
        for value in list {
            let entry = (entry.0.clone(), value);
            let DeValue::String(pattern) = value.get_ref() else {
                return Err(wrong(&entry));
            };
            patterns.push(self.pattern(&entry, pattern)?);
        }
        Ok(patterns)
    }

    /// A pattern that no endpoint before has.
    fn pattern(&self, entry: &Entry<'_, '_>, pattern: &str) -> Result<Pattern, Fault> {
        check(pattern).map_err(|why| fault(entry, why))?;
        let compiled = compile(pattern);
        let has = |other: &&Endpoint| other.patterns.contains(&compiled);
        match self.endpoints.iter().find(has) {
            Some(other) => {
                let why = format!("{} has the same pattern {pattern}", other.path);
                Err(fault(entry, &why))
            }
            None => Ok(compiled),
        }
    }

    fn read_keys(&mut self, entry: &Entry<'_, '_>, default: u32) -> Result<(), Fault> {
        for entry in entries(entry)? {
            let grant = match entry.1.get_ref() {
                DeValue::String(tier) => Grant::Tier(self.tier_index(&entry, tier)?),
                DeValue::Table(_) => {
                    let fields = Fields::read(&entry, &["tier", "limit", "window"])?;
                    let tier = match fields.get("tier") {
                        Some(tier) => match tier.1.get_ref() {
                            DeValue::String(name) => Some(self.tier_index(tier, name)?),
                            _ => return Err(fault(tier, "must be a tier's name")),
                        },
                        None => None,
                    };
                    let base = tier
                        .and_then(|index| self.tiers.get(index))
                        .map(Tier::policy);
                    match (fields.number("limit")?, fields.window()?, tier) {
                        (None, None, Some(tier)) => Grant::Tier(tier),
                        (limit, window, _) => {
                            let limit = limit
                                .or(base.map(Policy::limit))
                                .ok_or_else(|| fault(&entry, "needs a tier or a limit"))?;
                            let window = window.or(base.map(Policy::window_ms));
                            Grant::Negotiated(policy(&entry, limit, window.unwrap_or(default))?)
                        }
                    }
                }
                _ => {
                    return Err(fault(
                        &entry,
                        "must be a tier's name, or { tier = \"…\", limit = … }",
                    ));
                }
            };
            let key = within(&entry.0, "keys");
            self.keys.insert(key.as_bytes().into(), grant);
        }
        Ok(())
    }

    fn tier_index(&self, entry: &Entry<'_, '_>, name: &str) -> Result<usize, Fault> {
        let found = self.tiers.iter().position(|tier| &*tier.name == name);
        found.ok_or_else(|| {
            let names: Vec<_> = self.tiers.iter().map(|tier| &*tier.name).collect();
            let why = format!(
                "no tier is called \"{name}\"; there are {}",
                names.join(", ")
            );
            Fault(entry.1.span(), entry.0.clone(), why)
        })
    }
}

/// The fields of an inline table, all of them known.
struct Fields<'a, 'b>(Vec<Entry<'a, 'b>>, String);

impl<'a, 'b> Fields<'a, 'b> {
    fn read(entry: &Entry<'a, 'b>, known: &[&str]) -> Result<Self, Fault> {
        let fields = Self(entries(entry)?, entry.0.clone());
        match fields
            .0
            .iter()
            .find(|field| !known.contains(&within(&field.0, &fields.1)))
        {
            Some(field) => Err(unknown(field.1.span(), &field.0, &known.join(", "))),
            None => Ok(fields),
        }
    }

    fn get(&self, name: &str) -> Option<&Entry<'a, 'b>> {
        self.0
            .iter()
            .find(|field| within(&field.0, &self.1) == name)
    }

    fn number(&self, name: &str) -> Result<Option<u32>, Fault> {
        self.get(name).map(number).transpose()
    }

    fn window(&self) -> Result<Option<u32>, Fault> {
        self.get("window").map(milliseconds).transpose()
    }
}

/// A dotted name without its table's.
fn within<'a>(name: &'a str, table: &str) -> &'a str {
    let dotted = name.strip_prefix(table).unwrap_or(name);
    dotted.strip_prefix('.').unwrap_or(dotted)
}

/// The entries of a table, under their dotted names.
fn entries<'a, 'b>(entry: &Entry<'a, 'b>) -> Result<Vec<Entry<'a, 'b>>, Fault> {
    match entry.1.get_ref() {
        DeValue::Table(table) => Ok(table
            .iter()
            .map(|(name, value)| (format!("{}.{}", entry.0, name.get_ref()), value))
            .collect()),
        _ => Err(fault(entry, "must be a table")),
    }
}

fn number(entry: &Entry<'_, '_>) -> Result<u32, Fault> {
    let DeValue::Integer(integer) = entry.1.get_ref() else {
        return Err(fault(entry, "must be a whole number"));
    };
    let digits = integer.as_str().replace('_', "");
    u32::from_str_radix(&digits, integer.radix())
        .map_err(|_| fault(entry, "must be a whole number from 0 to 4294967295"))
}

fn in_flight(entry: &Entry<'_, '_>) -> Result<u32, Fault> {
    let max = number(entry)?;
    if !(1..=MAX_IN_FLIGHT).contains(&max) {
        return Err(fault(entry, "must be from 1 to 256 requests in flight"));
    }
    Ok(max)
}

/// A length of time: a whole number of milliseconds, or one with its unit.
fn milliseconds(entry: &Entry<'_, '_>) -> Result<u32, Fault> {
    let ms = match entry.1.get_ref() {
        DeValue::String(text) => {
            let unit_at = text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len());
            let (digits, unit) = text.split_at(unit_at);
            let factor = match unit {
                "ms" => Some(1_u32),
                "s" => Some(1_000),
                "m" => Some(60_000),
                "h" => Some(3_600_000),
                _ => None,
            };
            let number = digits.parse::<u32>().ok();
            number
                .zip(factor)
                .and_then(|(number, factor)| number.checked_mul(factor))
        }
        DeValue::Integer(_) => Some(number(entry)?),
        _ => None,
    };
    ms.filter(|&ms| ms > 0).ok_or_else(|| {
        fault(
            entry,
            "must be a length of time: milliseconds from 1 to 4294967295, or \"500ms\", \"60s\", \"5m\", \"1h\"",
        )
    })
}

fn policy(entry: &Entry<'_, '_>, limit: u32, window_ms: u32) -> Result<Policy, Fault> {
    if limit == 0 {
        return Err(fault(entry, "a limit must be at least 1"));
    }
    Policy::new(limit, window_ms).map_err(|error| fault(entry, &error.to_string()))
}

fn fault(entry: &Entry<'_, '_>, why: &str) -> Fault {
    Fault(entry.1.span(), entry.0.clone(), why.into())
}

fn unknown(span: Range<usize>, key: &str, known: &str) -> Fault {
    Fault(span, key.into(), format!("unknown; there can be {known}"))
}

fn line_of(text: &str, byte: usize) -> usize {
    let before = text.as_bytes().get(..byte).unwrap_or(text.as_bytes());
    before
        .iter()
        .filter(|&&b| b == b'\n')
        .count()
        .saturating_add(1)
}
