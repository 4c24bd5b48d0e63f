//! What a decision looks like in an HTTP response.
//!
//! Written into the caller's buffer, without allocation. Like C's `snprintf`,
//! each function returns the whole length, however much of it fitted.
//!
//! - `legacy`: the contract's `X-RateLimit-Limit`, `-Remaining`, `-Reset`
//!   (Unix seconds).
//! - `ietf`: `RateLimit-Policy` and `RateLimit` of
//!   draft-ietf-httpapi-ratelimit-headers-11; `t` is in seconds from now. A
//!   limit on requests in flight is a policy of its own, `"in-flight"`, in the
//!   quota unit `concurrent-requests`.
//! - A refusal has `Retry-After` (RFC 9110, seconds) besides, and its status
//!   is 429 (RFC 6585) with `Content-Type: application/json`.

use crate::decision::{Decision, Outcome};
use crate::time::ceil_seconds;

/// Which headers to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Flavour {
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining`, `X-RateLimit-Reset`.
    Legacy = 1,
    /// `RateLimit-Policy`, `RateLimit`.
    Ietf = 2,
    /// Both of them.
    Both = 3,
}

/// The values that headers and body speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// The policy's limit.
    pub limit: u32,
    /// Units left.
    pub remaining: u32,
    /// The window's length in milliseconds.
    pub window_ms: u32,
    /// Milliseconds until the quota grows, or until the retry.
    pub reset_after_ms: u64,
    /// The same as wall time, in Unix milliseconds.
    pub reset_unix_ms: u64,
    /// Whole seconds to wait; 0: the request was allowed.
    pub retry_after_s: u32,
    /// Whether it was refused for what is in flight.
    pub busy: bool,
    /// Requests in flight.
    pub in_flight: u32,
    /// How many there may be; 0: that was not asked.
    pub max_in_flight: u32,
    /// The endpoint they are on, as the plan has it.
    pub endpoint: Option<&'a str>,
}

impl<'a> Response<'a> {
    /// The same, of a request that fell under an endpoint of the plan's.
    #[must_use]
    pub const fn on(mut self, endpoint: Option<&'a str>) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// A decision's values, made at `unix_ms` of wall time.
    pub const fn new(decision: &Decision, unix_ms: u64) -> Self {
        Self {
            limit: decision.policy.limit(),
            remaining: decision.remaining(),
            window_ms: decision.policy.window_ms(),
            reset_after_ms: decision.reset_after_ms,
            reset_unix_ms: unix_ms.saturating_add(decision.reset_after_ms),
            retry_after_s: match decision.outcome {
                Outcome::Allowed => 0,
                Outcome::Limited | Outcome::Busy | Outcome::Full => decision.retry_after_s,
            },
            busy: matches!(decision.outcome, Outcome::Busy),
            in_flight: decision.in_flight,
            max_in_flight: decision.max_in_flight,
            endpoint: None,
        }
    }

    /// All headers, each line ended by CR LF, into `out`.
    pub fn headers(&self, flavour: Flavour, out: &mut [u8]) -> usize {
        let mut text = Text::new(out);
        for header in self.each(flavour) {
            text.push(header.name());
            text.push(": ");
            self.value(header, &mut text);
            text.push("\r\n");
        }
        text.len
    }

    /// The name of the `index`-th header, its value into `out`, and the
    /// value's length; `None` past the last.
    pub fn header(
        &self,
        flavour: Flavour,
        index: usize,
        out: &mut [u8],
    ) -> Option<(&'static core::ffi::CStr, usize)> {
        let header = self.each(flavour).nth(index)?;
        let mut text = Text::new(out);
        self.value(header, &mut text);
        Some((header.c_name(), text.len))
    }

    /// The JSON error of a refusal into `out`; nothing for an allowed request.
    pub fn body(&self, out: &mut [u8]) -> usize {
        let mut text = Text::new(out);
        if self.busy {
            text.push(r#"{"error":{"message":"Too many requests in flight"#);
            if let Some(endpoint) = self.endpoint {
                text.push(" on ");
                text.escaped(endpoint);
            }
            if self.max_in_flight > 0 {
                text.push(": at most ");
                text.number(self.max_in_flight.into());
                text.push(" at a time");
            }
            text.push(". Please retry after ");
            text.number(self.retry_after_s.into());
            text.push(r#" seconds.","type":"rate_limit_error","#);
            text.push(r#""code":"concurrency_limit_exceeded","param":null}}"#);
        } else if self.retry_after_s > 0 {
            text.push(r#"{"error":{"message":"Rate limit exceeded. Please retry after "#);
            text.number(self.retry_after_s.into());
            text.push(r#" seconds.","type":"rate_limit_error","#);
            text.push(r#""code":"rate_limit_exceeded","param":null}}"#);
        }
        text.len
    }

    fn each(&self, flavour: Flavour) -> impl Iterator<Item = Header> + use<> {
        let legacy = matches!(flavour, Flavour::Legacy | Flavour::Both);
        let ietf = matches!(flavour, Flavour::Ietf | Flavour::Both);
        let refused = self.retry_after_s > 0;
        [
            (Header::Limit, legacy),
            (Header::Remaining, legacy),
            (Header::Reset, legacy),
            (Header::Policy, ietf),
            (Header::RateLimit, ietf),
            (Header::RetryAfter, refused),
        ]
        .into_iter()
        .filter_map(|(header, wanted)| wanted.then_some(header))
    }

    fn value(&self, header: Header, text: &mut Text<'_>) {
        match header {
            Header::Limit => text.number(self.limit.into()),
            Header::Remaining => text.number(self.remaining.into()),
            Header::Reset => text.number(ceil_seconds(self.reset_unix_ms)),
            Header::RetryAfter => text.number(self.retry_after_s.into()),
            Header::Policy => {
                text.push("\"default\";q=");
                text.number(self.limit.into());
                text.push(";w=");
                text.number(ceil_seconds(self.window_ms.into()));
                if self.max_in_flight > 0 {
                    text.push(", \"in-flight\";q=");
                    text.number(self.max_in_flight.into());
                    text.push(";qu=\"concurrent-requests\"");
                }
            }
            Header::RateLimit => {
                text.push("\"default\";r=");
                text.number(self.remaining.into());
                text.push(";t=");
                text.number(ceil_seconds(self.reset_after_ms));
                if self.max_in_flight > 0 {
                    text.push(", \"in-flight\";r=");
                    text.number(self.max_in_flight.saturating_sub(self.in_flight).into());
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Header {
    Limit,
    Remaining,
    Reset,
    Policy,
    RateLimit,
    RetryAfter,
}

impl Header {
    const fn c_name(self) -> &'static core::ffi::CStr {
        match self {
            Self::Limit => c"X-RateLimit-Limit",
            Self::Remaining => c"X-RateLimit-Remaining",
            Self::Reset => c"X-RateLimit-Reset",
            Self::Policy => c"RateLimit-Policy",
            Self::RateLimit => c"RateLimit",
            Self::RetryAfter => c"Retry-After",
        }
    }

    fn name(self) -> &'static str {
        // The names are ASCII.
        self.c_name().to_str().unwrap_or_default()
    }
}

/// Text that may be longer than the buffer it is written to.
struct Text<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Text<'a> {
    fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    fn byte(&mut self, byte: u8) {
        if let Some(place) = self.out.get_mut(self.len) {
            *place = byte;
        }
        self.len = self.len.saturating_add(1);
    }

    fn push(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.byte(byte));
    }

    /// What may stand inside a JSON string (RFC 8259, 7).
    fn escaped(&mut self, text: &str) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        for byte in text.bytes() {
            match byte {
                b'"' | b'\\' => {
                    self.byte(b'\\');
                    self.byte(byte);
                }
                0..0x20 => {
                    self.push("\\u00");
                    for digit in [byte >> 4, byte & 0xF] {
                        let digit = HEX.get(usize::from(digit)).copied();
                        self.byte(digit.unwrap_or(b'0'));
                    }
                }
                _ => self.byte(byte),
            }
        }
    }

    fn number(&mut self, value: u64) {
        // As many digits as the greatest number has, the last one first.
        let mut digits = [0_u8; 20];
        let mut used = 0_usize;
        let mut rest = value;
        for digit in digits.iter_mut().rev() {
            *digit = b'0'.wrapping_add((rest % 10) as u8);
            used = used.saturating_add(1);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let unused = digits.len().saturating_sub(used);
        digits
            .iter()
            .skip(unused)
            .for_each(|&digit| self.byte(digit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Policy;

    const REFUSED: Response<'_> = Response {
        limit: 60,
        remaining: 0,
        window_ms: 60_000,
        reset_after_ms: 12_000,
        reset_unix_ms: 1_700_000_012_001,
        retry_after_s: 12,
        busy: false,
        in_flight: 0,
        max_in_flight: 0,
        endpoint: None,
    };
    const BUSY: Response<'_> = Response {
        remaining: 45,
        retry_after_s: 1,
        busy: true,
        in_flight: 3,
        max_in_flight: 3,
        endpoint: Some("/video-analyses"),
        ..REFUSED
    };
    const ALLOWED: Response<'_> = Response {
        remaining: 45,
        retry_after_s: 0,
        ..REFUSED
    };

    fn text(write: impl Fn(&mut [u8]) -> usize) -> String {
        let mut out = vec![0; write(&mut [])];
        assert_eq!(write(&mut out), out.len());
        String::from_utf8(out).unwrap_or_default()
    }

    #[test]
    fn legacy_headers_are_the_contracts() {
        assert_eq!(
            text(|out| ALLOWED.headers(Flavour::Legacy, out)),
            "X-RateLimit-Limit: 60\r\nX-RateLimit-Remaining: 45\r\n\
             X-RateLimit-Reset: 1700000013\r\n"
        );
    }

    #[test]
    fn ietf_headers_are_the_drafts() {
        assert_eq!(
            text(|out| ALLOWED.headers(Flavour::Ietf, out)),
            "RateLimit-Policy: \"default\";q=60;w=60\r\nRateLimit: \"default\";r=45;t=12\r\n"
        );
    }

    #[test]
    fn a_refusal_says_retry_after_once_in_every_flavour() {
        for (flavour, lines) in [(Flavour::Legacy, 4), (Flavour::Ietf, 3), (Flavour::Both, 6)] {
            let all = text(|out| REFUSED.headers(flavour, out));
            assert!(all.ends_with("\r\nRetry-After: 12\r\n"), "{all}");
            assert_eq!(all.matches("\r\n").count(), lines, "{all}");
            assert_eq!(all.matches("Retry-After").count(), 1, "{all}");
        }
    }

    #[test]
    fn single_headers_are_those_of_the_whole() {
        let mut all = String::new();
        for index in 0.. {
            let mut out = [0; 64];
            let Some((name, len)) = REFUSED.header(Flavour::Both, index, &mut out) else {
                break;
            };
            let value = out
                .get(..len)
                .map(String::from_utf8_lossy)
                .unwrap_or_default();
            all += &format!("{}: {value}\r\n", name.to_string_lossy());
        }
        assert_eq!(all, text(|out| REFUSED.headers(Flavour::Both, out)));
    }

    #[test]
    fn the_body_is_the_contracts_and_an_allowed_request_has_none() {
        assert_eq!(
            text(|out| REFUSED.body(out)),
            r#"{"error":{"message":"Rate limit exceeded. Please retry after 12 seconds.","type":"rate_limit_error","code":"rate_limit_exceeded","param":null}}"#
        );
        assert_eq!(text(|out| ALLOWED.body(out)), "");
    }

    #[test]
    fn a_refusal_for_what_is_in_flight_names_the_endpoint_and_its_maximum() {
        assert_eq!(
            text(|out| BUSY.body(out)),
            r#"{"error":{"message":"Too many requests in flight on /video-analyses: at most 3 at a time. Please retry after 1 seconds.","type":"rate_limit_error","code":"concurrency_limit_exceeded","param":null}}"#
        );
        let odd = BUSY.on(Some("/a\"b\\c\nd/ü"));
        let body = text(|out| odd.body(out));
        assert!(body.contains(r#" on /a\"b\\c\u000ad/ü: at most"#), "{body}");
    }

    #[test]
    fn what_is_in_flight_is_a_policy_of_its_own_for_the_draft_and_silent_in_legacy() {
        let free = Response {
            in_flight: 1,
            max_in_flight: 3,
            ..ALLOWED
        };
        assert_eq!(
            text(|out| free.headers(Flavour::Ietf, out)),
            "RateLimit-Policy: \"default\";q=60;w=60, \"in-flight\";q=3;qu=\"concurrent-requests\"\r\n\
             RateLimit: \"default\";r=45;t=12, \"in-flight\";r=2\r\n"
        );
        let legacy = |response: Response<'_>| text(|out| response.headers(Flavour::Legacy, out));
        assert_eq!(legacy(free), legacy(ALLOWED));
    }

    #[test]
    fn a_short_buffer_gets_the_beginning_and_the_length_is_the_whole() {
        let whole = text(|out| REFUSED.headers(Flavour::Both, out));
        for room in 0..whole.len() {
            let mut out = vec![b'#'; room];
            assert_eq!(REFUSED.headers(Flavour::Both, &mut out), whole.len());
            assert_eq!(Some(out.as_slice()), whole.as_bytes().get(..room));
        }
    }

    #[test]
    fn numbers_have_all_their_digits() {
        for value in [0, 7, 10, 99, 100, 12_345, u64::MAX] {
            assert_eq!(
                text(|out| {
                    let mut text = Text::new(out);
                    text.number(value);
                    text.len
                }),
                value.to_string()
            );
        }
    }

    #[test]
    fn a_decision_gives_its_numbers() {
        let decision = Decision::refused(Outcome::Limited, Policy::per_minute(60), 60, 11_500, 0);
        let response = Response::new(&decision, 1_700_000_000_000);
        assert_eq!(
            response,
            Response {
                reset_unix_ms: 1_700_000_012_000,
                ..REFUSED
            }
        );
    }
}
