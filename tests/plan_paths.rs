//! Requests find their endpoint by path, however it is spelled, and plan files
//! say which patterns an endpoint has.

#![cfg(not(loom))]
#![expect(unsafe_code, reason = "an allocator that counts")]
#![expect(clippy::unwrap_used, reason = "tests")]

use mavera_rl::plan::{ENDPOINTS, Endpoint, Plan, class_id};
use proptest::prelude::*;
use proptest::sample::select;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::HashMap;

thread_local! {
    /// Allocations by this thread.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts what it gives.
struct Counting;

// SAFETY: hands on to the system's allocator what it is given.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending counts no more.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get().wrapping_add(1)));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A plan from a file, or the error's words from the line on.
fn load(text: &str) -> Result<Plan, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plan.toml");
    std::fs::write(&path, text).unwrap();
    Plan::load(&path).map_err(|error| {
        let words = error.to_string();
        let place = format!("{}:", path.display());
        words.strip_prefix(&place).unwrap().to_owned()
    })
}

/// A plan with endpoints of these paths.
fn plan(paths: &[&str]) -> Plan {
    let lines = paths.iter().map(|path| format!("'{path}' = 1\n"));
    load(&format!("[endpoints]\n{}", lines.collect::<String>())).unwrap()
}

fn find(plan: &Plan, target: impl AsRef<[u8]>) -> Option<&str> {
    plan.endpoint(target.as_ref()).map(|found| &*found.path)
}

#[track_caller]
fn all(plan: &Plan, targets: &[&str], endpoint: Option<&str>) {
    for target in targets {
        assert_eq!(find(plan, target), endpoint, "{target}");
    }
}

fn chat(targets: &[&str]) {
    all(&Plan::default(), targets, Some("/mave/chat"));
}

fn none(targets: &[&str]) {
    all(&Plan::default(), targets, None);
}

/// What is wrong with the endpoints of a file whose first line is `[endpoints]`.
#[track_caller]
fn wrong(endpoints: &str, words: &str) {
    let error = load(&format!("[endpoints]\n{endpoints}")).unwrap_err();
    assert_eq!(error, words);
}

#[test]
fn the_contracts_endpoints_are_found() {
    let plan = Plan::default();
    for (path, max) in ENDPOINTS {
        let endpoint = plan.endpoint(path.as_bytes()).unwrap();
        assert_eq!((&*endpoint.path, endpoint.max_in_flight), (path, max));
        assert_eq!((endpoint.class_id, endpoint.lease_ms), (class_id(path), 0));
    }
}

#[test]
fn a_pattern_is_a_prefix_by_whole_segments() {
    chat(&[
        "/mave/chat",
        "/mave/chat/",
        "/mave/chat/123",
        "/mave/chat?x=1",
        "/mave/chat#f",
        "/mave/chat/?",
    ]);
    none(&[
        "/mave/chatter",
        "/v1/mave/chat",
        "/mave",
        "/mave/",
        "/mave/cha",
        "/Mave/chat",
        "/mave/CHAT",
        "/",
        "",
        "*",
    ]);
}

#[test]
fn a_star_is_exactly_one_segment() {
    let plan = plan(&["/*/mave/chat", "/a*/b"]);
    let versions = ["/v1/mave/chat?x=1", "/%2a/mave/chat", "/x;p/mave/chat/7"];
    all(&plan, &versions, Some("/*/mave/chat"));
    all(&plan, &["/mave/chat", "/v1/v2/mave/chat"], None);
    all(&plan, &["//mave/chat", "/../mave/chat", "/ab/b"], None);
    all(&plan, &["/a*/b"], Some("/a*/b"));
}

#[test]
fn the_root_is_an_endpoint_for_all() {
    let plan = plan(&["/", "/a"]);
    all(
        &plan,
        &["", "/", "*", "/b", "?", "http://h", "%"],
        Some("/"),
    );
    all(&plan, &["/a", "a"], Some("/a"));
}

#[test]
fn the_longest_wins_then_the_first_literal() {
    let plan = plan(&["/*/*", "/*/b", "/a", "/a/*", "/a/*/c", "/a/*/*/d"]);
    for (target, endpoint) in [
        ("/a", "/a"),
        ("/a/b", "/a/*"),
        ("/x/b", "/*/b"),
        ("/x/y", "/*/*"),
        ("/a/b/c", "/a/*/c"),
        ("/a/b/x", "/a/*"),
        ("/a/b/c/d", "/a/*/*/d"),
    ] {
        assert_eq!(find(&plan, target), Some(endpoint), "{target}");
    }
}

#[test]
fn query_and_fragment_do_not_count() {
    chat(&["/mave/chat?/../..", "/mave/chat#/../..", "/mave/chat#?"]);
    none(&["/mave?/chat", "/mave#/chat", "?/mave/chat"]);
    // Encoded, they begin nothing.
    none(&["/mave/chat%3f", "/mave/chat%23"]);
    chat(&["/x%3f/../mave/chat", "/x%23/../mave/chat"]);
}

#[test]
fn absolute_form_loses_scheme_and_authority() {
    chat(&[
        "http://host/mave/chat",
        "HTTPS://user:pass@[::1]:8443/mave/chat?x",
        "a+b-c.1:///mave/chat",
        "http://mave/mave/chat",
        "http:/mave/chat",
    ]);
    none(&[
        "http://mave/chat",
        "http://host",
        "http://host?/mave/chat",
        "http://host#/mave/chat",
        "1http://host/mave/chat",
        "/http://host/mave/chat",
        "://host/mave/chat",
        "ht%74p://host/mave/chat",
    ]);
}

#[test]
fn without_a_slash_it_is_as_with_one() {
    chat(&["mave/chat", "./mave/chat", "../mave/chat", "%2fmave/chat"]);
    none(&["mave:chat", "mave:80/chat"]);
}

#[test]
fn percent_encoding_is_decoded_once() {
    chat(&[
        "/%6dave/chat",
        "/%6Dave/%63%68%61%74",
        "/mave%2Fchat",
        "/mave%2fchat%2F1",
        "/x/%2e%2e/mave/chat",
        "/x/.%2E/mave/chat",
        "/%2e/mave/chat",
        "/x%2F..%2Fmave/chat",
    ]);
    none(&[
        "/%256dave/chat",
        "/mave%252Fchat",
        "/mave%%32fchat",
        "/x/%252e%252e/mave/chat",
        "/mave/chat%",
        "/mave/chat%2",
        "/mave/chat%zz",
        "/mave/chat%00",
        "/mave/chat%%2",
        "/mave%/2fchat",
    ]);
    chat(&["/%zz/../mave/chat", "/%/../mave/chat", "/mave/chat/%"]);
    let accented = plan(&["/é"]);
    all(&accented, &["/é", "/%c3%A9"], Some("/é"));
    assert_eq!(find(&accented, b"/\xe9"), None);
}

#[test]
fn empty_and_dot_segments_are_resolved() {
    chat(&[
        "//mave///chat",
        "/./mave/./chat/.",
        "/x/../mave/chat",
        "/mave/x/../chat",
        "/mave/chat/x/..",
        "/../../mave/chat",
        "/x//../mave/chat",
        "/x/y/../../../mave/chat",
    ]);
    none(&[
        "/mave/chat/..",
        "/mave/../chat",
        "/mave/...",
        "/mave/.../chat",
    ]);
}

#[test]
fn parameters_do_not_count() {
    chat(&[
        "/mave;v=1/chat;x",
        "/mave/chat;;x=;y/1",
        "/;x/mave/chat",
        "/x/..;/mave/chat",
        "/x/..;a=b/mave/chat",
        "/x/%2e%2e;/mave/chat",
        "/.;/mave/chat",
        "/mave%3bx/chat%3B",
        "/x/..%3b/mave/chat",
    ]);
    none(&[
        "/mave/chat/..;",
        "/mave;/x/chat",
        ";/mave",
        "/mave/chat%253b",
    ]);
    // A parameter ends with its segment, and that with an encoded slash too.
    chat(&["/mave;x%2Fchat"]);
}

#[test]
fn any_depth_is_resolved() {
    let plan = plan(&["/mave/chat", "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16"]);
    for depth in 0..200_usize {
        let down = "/d".repeat(depth);
        let up = "/..".repeat(depth);
        let target = format!("{down}{up}/mave/chat");
        assert_eq!(find(&plan, &target), Some("/mave/chat"), "{depth}");
        let target = format!("{down}/d{up}/mave/chat");
        assert_eq!(find(&plan, &target), None, "{depth}");
        let target = format!("/mave/chat{down}{up}");
        assert_eq!(find(&plan, &target), Some("/mave/chat"), "{depth}");
        let target = format!("/mave/chat{down}{up}/..");
        assert_eq!(find(&plan, &target), None, "{depth}");
    }
    let deepest = &plan.endpoints().first().unwrap().path;
    assert_eq!(find(&plan, &**deepest), Some(&**deepest));
    assert_eq!(find(&plan, format!("{deepest}/17/18")), Some(&**deepest));
    assert_eq!(find(&plan, deepest.strip_suffix('6').unwrap()), None);
}

#[test]
fn a_match_allocates_nothing() {
    let plan = plan(&["/mave/chat", "/*/mave/chat", "/"]);
    let long = "/%64;p/..".repeat(1000);
    for target in ["/v1/mave/chat?x", "http://h/mave%2fchat", "", &long] {
        let before = ALLOCATIONS.get();
        let found = plan.endpoint(target.as_bytes());
        assert_eq!(ALLOCATIONS.get(), before, "{target}");
        assert!(found.is_some());
    }
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(Box::new(7)));
    assert!(ALLOCATIONS.get() > before);
}

#[test]
fn class_ids_are_the_same_in_every_process() {
    // From another implementation of SipHash.
    assert_eq!(class_id("/mave/chat"), 0x5b0a_4851);
    assert_eq!(class_id("/mave/chat/"), 0x5b0a_4851);
    assert_eq!(class_id("/focus-groups"), 0x2ab5_2a12);
    assert_eq!(class_id("/video-analyses"), 0xf9fe_258e);
    assert_eq!(class_id("/"), 0xb91c_5ed0);
    let other = load("[endpoints]\n'/a' = 1\n'/mave/chat/' = { in_flight = 1, also = ['/b'] }\n");
    let id = other.unwrap().endpoint(b"/b").unwrap().class_id;
    assert_eq!(id, class_id("/mave/chat"));
}

#[test]
fn a_table_says_further_patterns_and_a_lease() {
    let plan = load(
        "[endpoints]\n'/focus-groups' = 5\n\
         '/mave/chat' = { in_flight = 10, also = ['/*/mave/chat', '/v2/chat/'], lease = '5m' }\n\
         [endpoints.'/batch']\nin_flight = 256\nlease = '24h'\n",
    )
    .unwrap();
    let chats = ["/mave/chat", "/v1/mave/chat?x=1", "/v2/chat/7"];
    all(&plan, &chats, Some("/mave/chat"));
    let numbers = |endpoint: &Endpoint| (endpoint.max_in_flight, endpoint.lease_ms);
    let of = |target: &[u8]| plan.endpoint(target).map(numbers);
    assert_eq!(of(b"/v2/chat"), Some((10, 300_000)));
    assert_eq!(of(b"/batch"), Some((256, 86_400_000)));
    assert_eq!(of(b"/focus-groups"), Some((5, 0)));
    for (lease, ms) in [("1500", 1500), ("'500ms'", 500), ("86400000", 86_400_000)] {
        let text = format!("[endpoints]\n'/a' = {{ in_flight = 1, lease = {lease} }}\n");
        let plan = load(&text).unwrap();
        assert_eq!(plan.endpoint(b"/a").unwrap().lease_ms, ms);
    }
}

#[test]
fn a_pattern_that_could_not_match_is_an_error() {
    let seventeen = "/s".repeat(17);
    for (pattern, why) in [
        ("", "begin with /"),
        ("mave", "begin with /"),
        ("*/mave", "begin with /"),
        ("/a\\u0000", "have no NUL, ?, #, % or ;"),
        ("/a?x", "have no NUL, ?, #, % or ;"),
        ("/a#x", "have no NUL, ?, #, % or ;"),
        ("/%61", "have no NUL, ?, #, % or ;"),
        ("/a;x", "have no NUL, ?, #, % or ;"),
        ("//", "have no segment that is empty, . or .."),
        ("/a//b", "have no segment that is empty, . or .."),
        ("/a//", "have no segment that is empty, . or .."),
        ("/./a", "have no segment that is empty, . or .."),
        ("/a/..", "have no segment that is empty, . or .."),
        ("/a/../", "have no segment that is empty, . or .."),
        (&*seventeen, "have at most 16 segments"),
    ] {
        let name = pattern.replace("\\u0000", "\0");
        wrong(
            &format!("'/ok' = 1\n\"{pattern}\" = 1\n"),
            &format!("3: endpoints.{name}: a pattern must {why}"),
        );
        wrong(
            &format!("'/ok' = {{ in_flight = 1, also = [\n'/fine',\n\"{pattern}\"] }}\n"),
            &format!("4: endpoints./ok.also: a pattern must {why}"),
        );
    }
    for pattern in ["/", "/...", "/a/", "/*", "/a b", "/.a/b..", "/a:b@c"] {
        assert!(load(&format!("[endpoints]\n'{pattern}' = 1\n")).is_ok());
    }
    assert!(load(&format!("[endpoints]\n'{}/' = 1\n", "/s".repeat(16))).is_ok());
}

#[test]
fn two_endpoints_with_the_same_pattern_are_an_error() {
    wrong(
        "'/a' = 1\n'/a/' = 2\n",
        "3: endpoints./a/: /a has the same pattern /a/",
    );
    wrong(
        "'/a' = { in_flight = 1, also = ['/b'] }\n'/b' = 2\n",
        "3: endpoints./b: /a has the same pattern /b",
    );
    wrong(
        "'/a' = 1\n'/b' = { in_flight = 1, also = ['/c', '/a/'] }\n",
        "3: endpoints./b.also: /a has the same pattern /a/",
    );
    wrong(
        "'/a' = { in_flight = 1, also = ['/*/c'] }\n'/b' = { in_flight = 1, also = ['/*/c/'] }\n",
        "3: endpoints./b.also: /a has the same pattern /*/c/",
    );
}

#[test]
fn equal_class_ids_by_chance_are_an_error() {
    let mut seen = HashMap::new();
    let (first, second) = (0_u32..)
        .find_map(|number| {
            let path = format!("/{number:08}");
            let other = seen.insert(class_id(&path), path.clone())?;
            Some((other, path))
        })
        .unwrap();
    wrong(
        &format!("'{first}' = 1\n'{second}' = 1\n"),
        &format!(
            "3: endpoints.{second}: has by chance the class id of {first}; give it another path, and this one as also"
        ),
    );
    // As a further pattern it has no number of its own.
    let text =
        format!("[endpoints]\n'{first}' = 1\n'/a' = {{ in_flight = 2, also = ['{second}'] }}\n");
    assert_eq!(find(&load(&text).unwrap(), &second), Some("/a"));
}

#[test]
fn values_of_the_wrong_kind_are_errors() {
    let list = "must be a list of patterns, as in [\"/v2/chat\"]";
    let range = "must be from 1 to 256 requests in flight";
    let time = "must be a length of time: milliseconds from 1 to 4294967295, or \"500ms\", \"60s\", \"5m\", \"1h\"";
    let needs = "needs in_flight, as in { in_flight = 10, lease = \"5m\" }";
    for (value, key, why) in [
        ("0", "", range),
        ("257", "", range),
        ("'10'", "", "must be a whole number"),
        ("{}", "", needs),
        ("{ lease = 1 }", "", needs),
        ("{ in_flight = 0 }", ".in_flight", range),
        ("{ in_flight = 257 }", ".in_flight", range),
        (
            "{ in_flight = 1.5 }",
            ".in_flight",
            "must be a whole number",
        ),
        ("{ in_flight = 1, also = '/b' }", ".also", list),
        ("{ in_flight = 1, also = ['/b', 7] }", ".also", list),
        ("{ in_flight = 1, lease = 0 }", ".lease", time),
        ("{ in_flight = 1, lease = '5d' }", ".lease", time),
        (
            "{ in_flight = 1, lease = '25h' }",
            ".lease",
            "a lease must be at most 24 hours",
        ),
        (
            "{ in_flight = 1, lease = 86400001 }",
            ".lease",
            "a lease must be at most 24 hours",
        ),
        (
            "{ in_flight = 1, max = 1 }",
            ".max",
            "unknown; there can be in_flight, also, lease",
        ),
    ] {
        wrong(
            &format!("\n'/a' = {value}\n"),
            &format!("3: endpoints./a{key}: {why}"),
        );
    }
}

/// The path as its segments, read in another way: all at once, in passes.
fn segments(target: &[u8]) -> Vec<Vec<u8>> {
    let mut path = target.split(|b| b"?#".contains(b)).next().unwrap();
    let scheme = path.iter().position(|b| *b == b':').filter(|&at| {
        let (scheme, rest) = path.split_at(at);
        let tail = |b: &u8| b.is_ascii_alphanumeric() || b"+-.".contains(b);
        scheme.first().is_some_and(u8::is_ascii_alphabetic)
            && scheme.iter().all(tail)
            && rest.get(1) == Some(&b'/')
    });
    if let Some(colon) = scheme {
        path = path.split_at(colon).1.strip_prefix(b":").unwrap();
        if let Some(rest) = path.strip_prefix(b"//") {
            let end = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
            path = rest.split_at(end).1;
        }
    }
    let mut decoded = Vec::new();
    let mut rest = path;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail
            .get(..2)
            .filter(|two| two.iter().all(u8::is_ascii_hexdigit));
        match digits.and_then(|two| str::from_utf8(two).ok()) {
            Some(two) if *first == b'%' => {
                decoded.push(u8::from_str_radix(two, 16).unwrap());
                rest = tail.split_at(2).1;
            }
            _ => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    let mut kept = Vec::new();
    for segment in decoded.split(|b| *b == b'/') {
        match segment.split(|b| *b == b';').next().unwrap() {
            b"" | b"." => {}
            b".." => {
                kept.pop();
            }
            name => kept.push(name.to_vec()),
        }
    }
    kept
}

/// The endpoint by the rules as they are written; patterns in the plan's order.
fn expected<'a>(patterns: &[(&'a str, &str)], target: &[u8]) -> Option<&'a str> {
    let path = segments(target);
    let matching = patterns.iter().filter_map(|&(endpoint, pattern)| {
        let names: Vec<_> = pattern.split('/').filter(|name| !name.is_empty()).collect();
        let admits =
            |(name, segment): (&&str, &Vec<u8>)| *name == "*" || name.as_bytes() == segment;
        let under = names.len() <= path.len() && names.iter().zip(&path).all(admits);
        let stars: Vec<_> = names.iter().map(|name| *name == "*").collect();
        under.then_some((Reverse(names.len()), stars, endpoint))
    });
    // Of equals it gives the first.
    let best = matching.min_by_key(|(length, stars, _)| (*length, stars.clone()));
    best.map(|(_, _, endpoint)| endpoint)
}

const PATTERNS: [(&str, &str); 10] = [
    ("/", "/"),
    ("/*/*/a", "/*/*/a"),
    ("/*/b", "/*/b"),
    ("/a", "/a"),
    ("/a", "/*/a/*/b/*"),
    ("/a", "/b/a/*"),
    ("/a/*", "/a/*"),
    ("/a/b", "/a/b"),
    ("/a/b", "/*/a/b"),
    ("/a/b", "/b/*/b"),
];

/// The plan of `PATTERNS`, but for its first `without`.
fn plan_of(without: usize) -> (Plan, Vec<(&'static str, &'static str)>) {
    let patterns: Vec<_> = PATTERNS.iter().copied().skip(without).collect();
    let mut text = String::from("[endpoints]\n");
    for (path, _) in patterns.iter().filter(|(path, pattern)| path == pattern) {
        let also = patterns
            .iter()
            .filter(|(of, pattern)| of == path && pattern != path);
        let also: Vec<_> = also.map(|(_, pattern)| pattern).collect();
        text.push_str(&format!(
            "'{path}' = {{ in_flight = 1, also = {also:?} }}\n"
        ));
    }
    (load(&text).unwrap(), patterns)
}

/// Pieces that paths and their disguises are made of.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = select(&[
        "/", "/", "/", "/a", "/b", "/a", "/b", "a", "b", "c", ".", "/.", "/..", "..", "%2e", "%2F",
        "%61", "%62", "%", "%zz", "%2", "%25", ";", "/..;", ";x", "%3b", "?", "#", "%3f", "*",
        "http://h", "x:", ":", "A", "é", "\0",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat().into_bytes())
}

/// One letter, plain or encoded.
fn spelled(letter: u8) -> BoxedStrategy<String> {
    let plain = char::from(letter).to_string();
    let encoded = select(vec![format!("%{letter:02x}"), format!("%{letter:02X}")]);
    prop_oneof![2 => Just(plain), 1 => encoded].boxed()
}

/// A path in any spelling that means the same.
fn respelled(path: &str) -> impl Strategy<Value = String> + use<> {
    let mut parts = vec![
        select(&["", "", "http://h:80", "X-1://", "//h/..", "/../.."])
            .prop_map(str::to_owned)
            .boxed(),
    ];
    for segment in path.split('/').skip(1) {
        let slash = select(&[
            "/",
            "/",
            "//",
            "%2f",
            "/./",
            "/%2E/",
            "/;p/",
            "/x/../",
            "/x;/%2e.;p/",
            "/x%2F..%2f",
        ]);
        // With a plain slash first, so that an authority ends.
        let slash = slash.prop_map(|slash| format!("/{slash}"));
        parts.push(slash.boxed());
        parts.extend(segment.bytes().map(spelled));
        let tail = select(&["", "", ";", ";v=1;w", "%3bx", "/", "/.", "/y/.."]);
        parts.push(tail.prop_map(str::to_owned).boxed());
    }
    let end = select(&["", "", "/7", "/%zz", "?x=/..", "#/..", "/../chat?"]);
    parts.push(end.prop_map(str::to_owned).boxed());
    parts.prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn matching_is_the_rules_as_they_are_written(
        targets in prop::collection::vec(pieces(), 64),
        without in 0..4_usize,
    ) {
        let (plan, patterns) = plan_of(without);
        for target in targets {
            let text = String::from_utf8_lossy(&target);
            prop_assert_eq!(find(&plan, &target), expected(&patterns, &target), "{}", text);
        }
    }

    #[test]
    fn any_bytes_are_a_target(target in prop::collection::vec(any::<u8>(), 0..200)) {
        let (plan, patterns) = plan_of(0);
        prop_assert_eq!(find(&plan, &target), expected(&patterns, &target));
    }

    #[test]
    fn another_spelling_finds_the_same_endpoint(target in respelled("/mave/chat")) {
        let plan = Plan::default();
        prop_assert_eq!(find(&plan, &target), Some("/mave/chat"), "{}", target);
    }
}
