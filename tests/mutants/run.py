#!/usr/bin/env python3
"""Breaks the protocols on purpose and checks that a model notices.

Each mutant is one edit of one file. It is applied to a copy of the tree, the
loom models are run, and at least one of them must fail; the table printed says
which did. A mutant that no model catches, or whose text is no longer in the
source, makes the run fail.

    tests/mutants/run.py [NAME…]
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAILED = r"^test (?:\w+::)+(\w+) \.\.\. FAILED"
# Several times what the models take when they pass: a mutant may loop.
PATIENCE_S = 1200

# name: (file, the text to replace, its replacement)
MUTANTS = {
    "adopt-an-older-proposal": (
        "src/window.rs",
        "if proposal.time >= time {",
        "if proposal.time > 0 {",
    ),
    "ignore-proposals": (
        "src/window.rs",
        "let same_run = proposal.start == head.count\n",
        "let same_run = false && proposal.start == head.count\n",
    ),
    "store-over-a-cell": (
        "src/window.rs",
        "(slot.cas(found, run.pack()) && self.commit(word, seen, n))",
        "({ slot.store_relaxed(run.pack()); true } && self.commit(word, seen, n))",
    ),
    "skip-the-reload-before-replacing": (
        "src/window.rs",
        "if self.head.load_acquire() != word {\n            return None;",
        "if false {\n            return None;",
    ),
    "skip-the-reload-before-refusing": (
        "src/window.rs",
        "Verdict::Refuse(at) => {\n                    if self.head.load_acquire() == word {",
        "Verdict::Refuse(at) => {\n                    if true {",
    ),
    "fill-the-whole-ring": (
        "src/window.rs",
        "        seen.live >= self.mask()\n",
        "        seen.live > self.mask()\n",
    ),
    "forget-that-time-passed": (
        "src/window.rs",
        "let now = if now < floor { floor } else { now };",
        "",
    ),
    "round-time-down": (
        "src/time.rs",
        "tick | (1_u64 << log2).wrapping_sub(1)",
        "tick & !(1_u64 << log2).wrapping_sub(1)",
    ),
    "load-head-relaxed": (
        "src/sync.rs",
        "self.0.load(Ordering::Acquire)",
        "self.0.load(Ordering::Relaxed)",
    ),
    "publish-relaxed": (
        "src/sync.rs",
        "Ordering::AcqRel, Ordering::Relaxed)",
        "Ordering::Relaxed, Ordering::Relaxed)",
    ),
    "charge-an-empty-run": (
        "src/window.rs",
        "self.commit(word, &then, 0);",
        "self.commit(word, &then, 1);",
    ),
    "judge-an-empty-run-by-our-own-time": (
        "src/window.rs",
        "self.commit_empty(word, head, proposal, *rules);",
        "self.commit(word, seen, 0);",
    ),
    "take-up-a-proposal-from-before-a-rewind": (
        "src/window.rs",
        "            rules.expires(seen.newest)\n        };\n        let same_run",
        "            seen.newest.time.saturating_add(1)\n        };\n        let same_run",
    ),
    "open-onto-the-newest-cell": (
        "src/window.rs",
        "run_after(head.run | mask, 1_u32.wrapping_add(in_first_cell))",
        "run_after(head.run | mask, 1_u32.wrapping_add(in_first_cell & 0))",
    ),
    "fold-without-lowering": (
        "src/window.rs",
        "            start: elder.start,\n            ..found",
        "            ..found",
    ),
    "fold-without-moving": (
        "src/window.rs",
        "            if run == oldest {\n                break;",
        "            if run != u32::MAX {\n                break;",
    ),
    "fold-by-store": (
        "src/window.rs",
        "if put != found && !self.slot(run).cas(found.pack(), put.pack()) {",
        "if put != found && { self.slot(run).store_relaxed(put.pack()); false } {",
    ),
    "fold-before-moving": (
        "src/window.rs",
        "        let mut put = Cell {\n            start: elder.start,",
        "        let folded = Head { live: head.live.wrapping_sub(1), ..head };\n"
        "        if !self.head.cas(word, folded.pack()) { return None; }\n"
        "        let word = folded.pack();\n"
        "        let mut put = Cell {\n            start: elder.start,",
    ),
    "fold-across-quanta": (
        "src/window.rs",
        "if rules.one_quantum(elder, younger) {",
        "if rules.one_quantum(elder, younger) || true {",
    ),
    "expire-a-tick-early": (
        "src/window.rs",
        "while live > 1 && rules.expires(oldest) <= now {",
        "while live > 1 && rules.expires(oldest) <= now.wrapping_add(1) {",
    ),
    "insert-without-flushing-the-last": (
        "src/table.rs",
        "            self.flush(latest);\n            if let",
        "            if let",
    ),
    "insert-without-a-second-lookup": (
        "src/table.rs",
        "if let Some(place) = self.lookup(key) {",
        "if let Some(place) = self.lookup(key).filter(|_| false) {",
    ),
    "flush-what-is-no-longer-latest": (
        "src/table.rs",
        "if found != latest && self.latest.load_acquire() == latest {",
        "if found != latest {",
    ),
    "take-a-way-without-asking-latest": (
        "src/table.rs",
        "if self.latest.cas(latest, tag.pack()) {",
        "if { self.latest.store_relaxed(tag.pack()); true } {",
    ),
    "evict-who-still-owes": (
        "src/table.rs",
        "newest.saturating_add(longest) <= now || newest == 0\n",
        "newest == newest\n",
    ),
    "evict-without-a-new-generation": (
        "src/word.rs",
        "let generation = next_generation((head >> GEN_SHIFT) as u16) as u64;",
        "let generation = (head >> GEN_SHIFT) as u16 as u64;",
    ),
    "evict-by-store": (
        "src/table.rs",
        ".cas(word, freed)\n                .then_some(",
        ".store_relaxed_true(freed)\n                .then_some(",
    ),
    "keep-using-an-evicted-record": (
        "src/window.rs",
        "return Answer::Gone;\n            }\n            let seen = self.survey(head, rules, now);\n            match",
        "}\n            let seen = self.survey(head, rules, now);\n            match",
    ),
    "permit-by-store": (
        "src/permits.rs",
        "if !cell.cas(found, word) {\n            return None;",
        "if { cell.store_relaxed(word); false } {\n            return None;",
    ),
    "permit-without-a-stamp": (
        "src/permits.rs",
        "let added = self.head.add(1);",
        "let added = self.head.load_acquire();",
    ),
    "permit-of-an-evicted-record": (
        "src/permits.rs",
        "        if before.generation != self.generation {\n            release(cell, word);",
        "        if before.generation != self.generation && false {\n            release(cell, word);",
    ),
    "permit-from-a-later-owner": (
        "src/permits.rs",
        "                if !self.is_current() {\n                    return Some(Answer::Gone);",
        "                if false {\n                    return Some(Answer::Gone);",
    ),
    "permit-beyond-a-lowered-limit": (
        "src/permits.rs",
        "let bound = if head.top == ask.max {",
        "let bound = if head.top >= ask.max {",
    ),
    "keep-a-permit-beside-another": (
        "src/permits.rs",
        "if before.top != ask.max && added != seen.word {",
        "if false {",
    ),
    "permit-without-a-new-seq": (
        "src/permits.rs",
        "seq: PermitCell::unpack(found).seq.wrapping_add(1),",
        "seq: PermitCell::unpack(found).seq,",
    ),
    "busy-after-one-reading": (
        "src/permits.rs",
        "cells.iter().zip(&seen).all(same).then_some(held)",
        "(true || cells.iter().zip(&seen).all(same)).then_some(held)",
    ),
    "release-by-store": (
        "src/permits.rs",
        "    cell.cas(word, PermitCell::freed(word))\n",
        "    cell.store_relaxed(PermitCell::freed(word));\n    true\n",
    ),
    "free-without-its-seq": (
        "src/word.rs",
        "        word & mask(SEQ_BITS) << SEQ_SHIFT\n",
        "        word & 0\n",
    ),
    "evict-who-holds-permits": (
        "src/permits.rs",
        "        !self.cells.iter().any(held)\n",
        "        !self.cells.iter().any(held) || true\n",
    ),
    "end-the-search-at-a-stale-tag": (
        "src/table.rs",
        "if word == 0 {\n                return None;",
        "if word == 0 || !owns(Tag::unpack(word), way.head.load_acquire()) {\n                return None;",
    ),
}


def models(tree: Path, target: Path, preemptions: int) -> tuple[int, list[str]]:
    """Runs the models; their exit code and the names of those that failed."""
    env = os.environ | {
        "CARGO_TARGET_DIR": str(target),
        "CARGO_TERM_COLOR": "never",
        "LOOM_MAX_PREEMPTIONS": str(preemptions),
    }
    run = subprocess.Popen(
        [str(tree / "scripts/loom.sh")],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = run.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        output, _ = run.communicate()
        failed = re.findall(FAILED, output, re.M)
        return 1, failed or ["models that do not end"]
    if "error: could not compile" in output:
        sys.exit(f"a mutant does not compile:\n{output[-3000:]}")
    return run.returncode, re.findall(FAILED, output, re.M)


def main() -> int:
    names = sys.argv[1:] or list(MUTANTS)
    for name in names:
        file, old, _ = MUTANTS[name]
        found = (ROOT / file).read_text().count(old)
        if found != 1:
            sys.exit(f"{name}: its text stands {found} times in {file}")
    survivors = []
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        shutil.copytree(
            ROOT, tree, ignore=shutil.ignore_patterns("target", ".git", "build")
        )
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "mutants"
        for name in names:
            file, old, new = MUTANTS[name]
            path = tree / file
            source = path.read_text()
            mutated = source.replace(old, new)
            sync = tree / "src/sync.rs"
            original = sync.read_text()
            if "store_relaxed_true" in new:
                sync.write_text(original.replace(
                    "    /// Relaxed: a statistic,",
                    "    pub(crate) fn store_relaxed_true(&self, value: u64) -> bool {\n"
                    "        self.store_relaxed(value);\n        true\n    }\n\n"
                    "    /// Relaxed: a statistic,",
                ))
            path.write_text(mutated)
            # Most die of few preemptions, and those models end soon.
            for preemptions in (1, 2, 3):
                code, failed = models(tree, target, preemptions)
                if code:
                    break
            path.write_text(source)
            sync.write_text(original)
            caught = ", ".join(failed) or ("the run itself" if code else "")
            verdict = f"caught by {caught} at {preemptions}" if caught else "SURVIVED"
            print(f"{name}: {verdict}", flush=True)
            if not caught:
                survivors.append(name)
    print(f"mutants: {len(names) - len(survivors)} passed, {len(survivors)} failed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
