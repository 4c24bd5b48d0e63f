/**
 * @file mavera_rl.hpp
 * C++17 over the C interface of mavera_rl.h: handles that close themselves,
 * errors as exceptions, text as strings. Header only; link the C library.
 *
 *     auto limiter = mavera::Limiter::open("/dev/shm/api-limits");
 *     auto decision = limiter.check(api_key, mavera::Policy{60, 60'000});
 *     if (!decision) {
 *         reply(429, decision.headers(), decision.body());
 *     }
 *
 * With a plan, requests in flight too, each for as long as its permit lives:
 *
 *     auto [decision, permit] = limiter.admit(plan, api_key, tier, path);
 *
 * - A refusal is no error: check() returns it. What throws is a call that
 *   cannot be answered, as mavera::Error.
 * - Every function that can throw says so with "@throws"; besides, those that
 *   return or take a string or a vector may throw std::bad_alloc. check(),
 *   peek() and acquire() of a request that is answered, and admit() but for
 *   the strings it takes, allocate nothing and take no lock. System calls are
 *   the clock's and, for permits, those that mavera_rl_acquire names.
 * - `const` means: any number of threads may call it at once. Moving into,
 *   out of or destroying an object needs the caller's own order, as ever.
 */
#ifndef MAVERA_RL_HPP
#define MAVERA_RL_HPP

#include <mavera_rl.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mavera {

namespace detail {

/** The whole text of a function with snprintf's contract. */
template <typename Write>
std::string text(Write write)
{
    std::string out(write(nullptr, std::size_t{0}), '\0');

    if (!out.empty()) {
        // Room for the NUL too: a string may be written that far.
        write(out.data(), out.size() + 1);
    }
    return out;
}

} // namespace detail

/** The library's version, "major.minor.patch". */
inline std::string_view version() noexcept
{
    return ::mavera_rl_version();
}

/** The version of the C interface that the loaded library has. */
inline std::uint32_t abi_version() noexcept
{
    return ::mavera_rl_abi_version();
}

/**
 * A call that could not be answered. what() is the library's full text, which
 * names the values that are at odds.
 */
class Error : public std::runtime_error {
public:
    /** The error of the call this thread has just made. */
    explicit Error(int code) : std::runtime_error(message(code)), code_(code)
    {
    }

    Error(int code, const std::string &what)
        : std::runtime_error(what), code_(code)
    {
    }

    /** One of MAVERA_RL_E…, negative. */
    int code() const noexcept { return code_; }

private:
    static std::string message(int code)
    {
        auto detail = detail::text(::mavera_rl_last_error);

        return detail.empty() ? ::mavera_rl_strerror(code) : detail;
    }

    int code_;
};

namespace detail {

/** Throws the error of a negative code; returns any other. */
inline int checked(int code)
{
    if (code < 0) {
        throw Error(code);
    }
    return code;
}

/** For C, which would take a NUL inside for the end. */
inline const char *c_string(const std::string &text)
{
    if (text.find('\0') != std::string::npos) {
        throw Error(MAVERA_RL_EINVAL, "a path or name has a NUL in it");
    }
    return text.c_str();
}

/** An empty view may point nowhere, which C takes for no key at all. */
inline const char *bytes(std::string_view key) noexcept
{
    return key.data() == nullptr ? "" : key.data();
}

} // namespace detail

/** Which rate-limit headers to send. */
enum class Flavour : std::uint32_t {
    legacy = MAVERA_RL_HEADERS_LEGACY, ///< X-RateLimit-*
    ietf = MAVERA_RL_HEADERS_IETF,     ///< RateLimit-Policy, RateLimit
    both = MAVERA_RL_HEADERS_BOTH,
};

/** Whose time counts in a region. */
enum class Clock : std::uint32_t {
    any = MAVERA_RL_CLOCK_DEFAULT, ///< the region's; of a new one, precise
    precise = MAVERA_RL_CLOCK_PRECISE,
    coarse = MAVERA_RL_CLOCK_COARSE, ///< cheaper to read
    caller = MAVERA_RL_CLOCK_CALLER, ///< the argument of check_at()
};

/** What a key hears that a table has no room for. */
enum class OnFull : std::uint32_t {
    any = MAVERA_RL_ON_FULL_DEFAULT, ///< the region's; of a new one, deny
    deny = MAVERA_RL_ON_FULL_DENY,
    allow = MAVERA_RL_ON_FULL_ALLOW,
};

/** How a check ended. */
enum class Outcome : std::int32_t {
    allowed = MAVERA_RL_ALLOWED,
    limited = MAVERA_RL_LIMITED, ///< the quota is spent
    busy = MAVERA_RL_BUSY,       ///< as many are in flight as may be
    full = MAVERA_RL_FULL,       ///< no room for the key, and that denies
    failed = -1,                 ///< only in check_many(): see code()
};

/** How much a key may spend: `limit` units in any `window_ms` milliseconds. */
struct Policy {
    std::uint32_t limit = 0;          ///< 0 to 2^23
    std::uint32_t window_ms = 60'000; ///< 1 to the region's longest

    friend bool operator==(const Policy &a, const Policy &b) noexcept
    {
        return a.limit == b.limit && a.window_ms == b.window_ms;
    }

    friend bool operator!=(const Policy &a, const Policy &b) noexcept
    {
        return !(a == b);
    }
};

/**
 * What a region is made with. 0 and `any` are the default of a new region and
 * whatever an existing one has; other values must be those of an existing one.
 */
struct Options {
    std::uint64_t keys = 0;          ///< active in one window; 100000
    std::uint32_t cells = 0;         ///< power of two from 8 to 1024; 64
    std::uint32_t max_window_ms = 0; ///< of any policy; 60000
    Clock         clock = Clock::any;
    OnFull        on_full = OnFull::any;
    std::uint32_t mode = 0;          ///< permissions of a new file; 0600

    /** What keys are hashed with. All zero: drawn from the system. */
    std::array<std::uint8_t, 16> secret{};

    std::uint64_t permit_keys = 0;  ///< with requests in flight; 4096 or keys
    std::uint32_t permit_cells = 0; ///< multiple of 8 from 8 to 256; 16
};

/** What a region is and has seen. */
struct Stats {
    std::uint64_t keys_capacity; ///< records the table can hold
    std::uint64_t keys_held;     ///< records in use
    std::uint64_t inserted;      ///< records ever given to a key
    std::uint64_t evicted;       ///< records taken back from idle keys
    std::uint64_t full;          ///< checks that OnFull answered
    std::uint64_t bytes;         ///< size of the region
    std::uint32_t cells;
    std::uint32_t max_window_ms;
    Clock         clock;
    OnFull        on_full;
    std::uint64_t permit_capacity; ///< keys and classes with permits at a time
    std::uint32_t permit_cells;    ///< most permits of a key and class
};

/** An endpoint of a plan. */
struct Endpoint {
    std::string   path;
    std::uint32_t class_id;
    std::uint32_t max_in_flight; ///< requests of one key at a time
};

/**
 * The class of an endpoint's path, the same in every process; any other name
 * will do for a class of one's own. A trailing slash does not count.
 *
 * @throws Error MAVERA_RL_EINVAL if the name has a NUL in it.
 */
inline std::uint32_t class_id(const std::string &name)
{
    return ::mavera_rl_class_id(detail::c_string(name));
}

/** One request of Limiter::check_many(). The key is not copied. */
struct Request {
    std::string_view key; ///< any bytes
    Policy           policy;
    std::uint32_t    cost = 1;
};

/** A header's name and value. */
using Header = std::pair<std::string, std::string>;

/**
 * The answer to one check, with all that a response needs, from the same
 * atomic step. A plain value: true when the request may go on.
 */
class Decision {
public:
    /** A decision of the C interface. */
    explicit Decision(const ::mavera_rl_decision &raw) noexcept : raw_(raw) {}

    bool allowed() const noexcept
    {
        return raw_.outcome == MAVERA_RL_ALLOWED;
    }

    explicit operator bool() const noexcept { return allowed(); }

    Outcome outcome() const noexcept
    {
        return raw_.outcome < 0 ? Outcome::failed
                                : static_cast<Outcome>(raw_.outcome);
    }

    /** The outcome as the C interface has it: after check_many() also one of
     *  MAVERA_RL_E…, and then the other values mean nothing. */
    int code() const noexcept { return raw_.outcome; }

    /** The policy that was asked about. */
    Policy policy() const noexcept { return {raw_.limit, raw_.window_ms}; }

    std::uint32_t limit() const noexcept { return raw_.limit; }

    /** Units charged in the window, this call's included. */
    std::uint32_t used() const noexcept { return raw_.used; }

    /** Units that may still be spent now. */
    std::uint32_t remaining() const noexcept { return raw_.remaining; }

    /** Whole seconds for Retry-After: 0 when allowed, else from 1. */
    std::uint32_t retry_after_s() const noexcept
    {
        return raw_.retry_after_s;
    }

    /** Exact wait in milliseconds, 0 when allowed. */
    std::uint64_t retry_after_ms() const noexcept
    {
        return raw_.retry_after_ms;
    }

    /** Milliseconds until the oldest unit leaves the window; of a refusal,
     *  retry_after_s() in milliseconds. */
    std::uint64_t reset_after_ms() const noexcept
    {
        return raw_.reset_after_ms;
    }

    /** The same as wall time, in milliseconds of Unix time. */
    std::uint64_t reset_unix_ms() const noexcept
    {
        return raw_.reset_unix_ms;
    }

    /** Allowed without being counted, because the table was full. */
    bool untracked() const noexcept { return raw_.untracked != 0; }

    /** Requests of the key in flight on the endpoint, this one included if it
     *  was allowed; 0 where no permit was asked for. */
    std::uint32_t in_flight() const noexcept { return raw_.in_flight; }

    /** How many there may be; 0 where no permit was asked for. */
    std::uint32_t max_in_flight() const noexcept
    {
        return raw_.max_in_flight;
    }

    /** The endpoint by the plan's name; empty where no permit was asked for.
     *  The text is the plan's: of such a decision endpoint(), headers() and
     *  body() may be called only while the Plan lives. */
    std::string_view endpoint() const noexcept
    {
        return raw_.endpoint == nullptr ? std::string_view()
                                        : std::string_view(raw_.endpoint);
    }

    /** The response's rate-limit headers, Retry-After among them if it is a
     *  refusal. */
    std::vector<Header> headers(Flavour flavour = Flavour::legacy) const
    {
        std::vector<Header> out;

        for (std::size_t i = 0;; i++) {
            const char *name = nullptr;
            auto        value = detail::text([&](char *buf, std::size_t cap) {
                return ::mavera_rl_format_header(&raw_, number(flavour), i,
                                                 &name, buf, cap);
            });

            if (name == nullptr) {
                return out;
            }
            out.emplace_back(name, std::move(value));
        }
    }

    /** The same as lines "Name: value", each ended by CR LF. */
    std::string header_lines(Flavour flavour = Flavour::legacy) const
    {
        return detail::text([&](char *buf, std::size_t cap) {
            return ::mavera_rl_format_headers(&raw_, number(flavour), buf,
                                              cap);
        });
    }

    /** The JSON body of a refusal, for a response with the status 429 and
     *  Content-Type: application/json. Empty when allowed. */
    std::string body() const
    {
        return detail::text([&](char *buf, std::size_t cap) {
            return ::mavera_rl_format_body(&raw_, buf, cap);
        });
    }

    /** The decision of the C interface. */
    const ::mavera_rl_decision &raw() const noexcept { return raw_; }

private:
    static std::uint32_t number(Flavour flavour) noexcept
    {
        return static_cast<std::uint32_t>(flavour);
    }

    ::mavera_rl_decision raw_;
};

/**
 * Tiers, endpoints and known keys. Moved, never copied; set_tier() may run
 * beside readers.
 */
class Plan {
public:
    /**
     * The contract of the public API, without keys.
     *
     * @throws Error if memory is short.
     */
    static Plan contract()
    {
        ::mavera_rl_plan *plan = nullptr;

        detail::checked(::mavera_rl_plan_default(&plan));
        return Plan(plan);
    }

    /**
     * A plan from a TOML file.
     *
     * @throws Error MAVERA_RL_EPLAN if it cannot be read or has a fault:
     *         what() names file, line and key.
     */
    static Plan load(const std::string &path)
    {
        ::mavera_rl_plan *plan = nullptr;

        detail::checked(
            ::mavera_rl_plan_load(detail::c_string(path), &plan));
        return Plan(plan);
    }

    /**
     * What a tier may; nothing if the plan has no such tier.
     *
     * @throws Error from a plan that was moved from.
     */
    std::optional<Policy> policy(const std::string &tier) const
    {
        return found<::mavera_rl_policy>([&](auto *out) {
            return ::mavera_rl_plan_policy(plan_.get(),
                                           detail::c_string(tier), out);
        });
    }

    /**
     * What an API key may, by the plan's [keys]; nothing if it is not there.
     *
     * @throws Error from a plan that was moved from.
     */
    std::optional<Policy> key_policy(std::string_view key) const
    {
        return found<::mavera_rl_policy>([&](auto *out) {
            return ::mavera_rl_plan_key_policy(
                plan_.get(), detail::bytes(key), key.size(), out);
        });
    }

    /**
     * Gives a tier other numbers, for every look-up from now on. What its
     * keys have spent is kept, unless the window's length changes.
     *
     * @throws Error MAVERA_RL_ENOENT if the plan has no such tier,
     *         MAVERA_RL_EINVAL if the policy is out of range.
     */
    void set_tier(const std::string &tier, const Policy &policy) const
    {
        detail::checked(::mavera_rl_plan_set_tier(
            plan_.get(), detail::c_string(tier), policy.limit,
            policy.window_ms));
    }

    /**
     * The endpoint whose limit on requests in flight a request falls under,
     * by its target as it came; nothing if it is under none.
     *
     * @throws Error from a plan that was moved from; MAVERA_RL_EINVAL if the
     *         target has a NUL in it.
     */
    std::optional<Endpoint> endpoint(const std::string &target) const
    {
        return found<::mavera_rl_endpoint>([&](auto *out) {
            return ::mavera_rl_plan_endpoint(plan_.get(),
                                             detail::c_string(target), out);
        });
    }

    /**
     * All endpoints, in the plan's order.
     *
     * @throws Error from a plan that was moved from.
     */
    std::vector<Endpoint> endpoints() const
    {
        std::vector<Endpoint> out;

        for (std::size_t i = 0;; i++) {
            auto endpoint = found<::mavera_rl_endpoint>([&](auto *to) {
                return ::mavera_rl_plan_endpoint_at(plan_.get(), i, to);
            });

            if (!endpoint) {
                return out;
            }
            out.push_back(std::move(*endpoint));
        }
    }

    /** The plan of the C interface; it stays this object's. */
    ::mavera_rl_plan *raw() const noexcept { return plan_.get(); }

private:
    struct Free {
        void operator()(::mavera_rl_plan *plan) const noexcept
        {
            ::mavera_rl_plan_free(plan);
        }
    };

    explicit Plan(::mavera_rl_plan *plan) noexcept : plan_(plan) {}

    static Policy from_c(const ::mavera_rl_policy &raw) noexcept
    {
        return {raw.limit, raw.window_ms};
    }

    static Endpoint from_c(const ::mavera_rl_endpoint &raw)
    {
        return {raw.path, raw.class_id, raw.max_in_flight};
    }

    /** What `find` wrote into a struct of C's, if there is such a thing. */
    template <typename Raw, typename Find>
    static auto found(Find find)
        -> std::optional<decltype(from_c(std::declval<Raw>()))>
    {
        Raw raw{};

        raw.size = sizeof(raw);
        const int code = find(&raw);
        if (code == MAVERA_RL_ENOENT) {
            return std::nullopt;
        }
        detail::checked(code);
        return from_c(raw);
    }

    std::unique_ptr<::mavera_rl_plan, Free> plan_;
};

/**
 * One request in flight, given back when destroyed, on any thread of the
 * process that took it. Moved, never copied. In a forked child it is not held,
 * and its destruction there changes nothing.
 *
 * Must not outlive its Limiter's handle, which ends when the Limiter is
 * destroyed or assigned to; all its permits are free then. The Limiter may be
 * moved meanwhile: the handle stays where it is.
 */
class [[nodiscard]] Permit {
public:
    /** None: holds nothing. */
    Permit() noexcept = default;

    /** A permit of the C interface, from now on this object's; all zero:
     *  none. */
    Permit(::mavera_rl *handle, ::mavera_rl_permit raw) noexcept
        : handle_(handle), raw_(raw)
    {
    }

    Permit(Permit &&other) noexcept
        : handle_(other.handle_), raw_(other.detach())
    {
    }

    /** Gives back what it held before. */
    Permit &operator=(Permit &&other) noexcept
    {
        if (this != &other) {
            release();
            handle_ = other.handle_;
            raw_ = other.detach();
        }
        return *this;
    }

    Permit(const Permit &) = delete;
    Permit &operator=(const Permit &) = delete;

    ~Permit() { release(); }

    /** Whether it holds something. Not so after release() or detach(), nor
     *  where a request was allowed without being counted. */
    explicit operator bool() const noexcept { return raw_.word != 0; }

    /**
     * Gives it back now.
     *
     * @return false if it was not held: there was none, its lease had ended
     *         and somebody has it, or another process took it. Nothing was
     *         changed then.
     */
    bool release() noexcept
    {
        return *this && ::mavera_rl_release(handle_, detach()) == 0;
    }

    /** The permit of the C interface, for mavera_rl_release or another
     *  Permit; this object holds nothing any more. */
    [[nodiscard]] ::mavera_rl_permit detach() noexcept
    {
        return std::exchange(raw_, ::mavera_rl_permit{});
    }

private:
    ::mavera_rl       *handle_ = nullptr;
    ::mavera_rl_permit raw_{};
};

/** The answer to one Limiter::acquire(): true when the request may go on. */
struct [[nodiscard]] Acquired {
    Outcome outcome; ///< allowed, busy or full
    Permit  permit;  ///< of an allowed request, unless the table was full

    explicit operator bool() const noexcept
    {
        return outcome == Outcome::allowed;
    }
};

/** The answer to one Limiter::admit(): true when the request may go on. */
struct [[nodiscard]] Admission {
    Decision decision; ///< its outcome says which of the two limits refused
    Permit   permit;   ///< to be kept until the response is finished

    explicit operator bool() const noexcept { return decision.allowed(); }
};

/**
 * A handle on a region: an exact sliding-window rate limiter. Handles on the
 * same file share one limit, in all threads, processes and languages.
 *
 * Moved, never copied. After a move the old handle only answers
 * MAVERA_RL_EINVAL, as an Error; permits stay valid.
 */
class Limiter {
public:
    /**
     * The limiter of all processes that open `path`, best on /dev/shm. Its
     * file is created if there is none, and stays when the handle is closed.
     *
     * @throws Error if the file cannot be made, is no region, or has other
     *         options; what() names the file and both values.
     */
    static Limiter open(const std::string &path, const Options &options = {})
    {
        return opened(detail::c_string(path), options);
    }

    /**
     * A limiter for this process alone.
     *
     * @throws Error if an option is out of its range or memory is short.
     */
    static Limiter in_process(const Options &options = {})
    {
        return opened(nullptr, options);
    }

    /**
     * A limiter in the caller's memory, for the threads of this process. The
     * memory is cleared, and must outlive the handle.
     *
     * @throws Error if an option is out of its range or `len` is less than
     *         region_size() bytes.
     */
    static Limiter in_memory(void *memory, std::size_t len,
                             const Options &options = {})
    {
        const auto   raw = to_c(options);
        ::mavera_rl *handle = nullptr;

        detail::checked(::mavera_rl_init(memory, len, &raw, &handle));
        return Limiter(handle);
    }

    /**
     * Bytes that in_memory() needs.
     *
     * @throws Error if an option is out of its range.
     */
    static std::size_t region_size(const Options &options = {})
    {
        const auto        raw = to_c(options);
        const std::size_t size = ::mavera_rl_region_size(&raw);

        if (size == 0) {
            throw Error(MAVERA_RL_EINVAL);
        }
        return size;
    }

    /**
     * Charges `cost` units to `key` if its policy admits them now. A refusal
     * charges nothing; so does a cost of 0, which asks as peek() does.
     *
     * @throws Error MAVERA_RL_ECOST if `cost` exceeds the limit,
     *         MAVERA_RL_EINVAL if the limit is above 2^23 or the window not
     *         from 1 to the region's longest, MAVERA_RL_ECLOCK if the
     *         region's caller supplies the time.
     */
    [[nodiscard]] Decision check(std::string_view key, const Policy &policy,
                                 std::uint32_t cost = 1) const
    {
        const auto           limits = to_c(policy);
        ::mavera_rl_decision out = blank();

        detail::checked(::mavera_rl_check(handle_.get(), detail::bytes(key),
                                          key.size(), &limits, cost, &out));
        return Decision(out);
    }

    /**
     * As check(), at `now_ms`, in milliseconds of any clock that is the same
     * for all callers of the region.
     *
     * @throws Error as check(); MAVERA_RL_ECLOCK if the region reads a clock.
     */
    [[nodiscard]] Decision check_at(std::string_view key,
                                    const Policy &policy,
                                    std::uint64_t now_ms,
                                    std::uint32_t cost = 1) const
    {
        const auto           limits = to_c(policy);
        ::mavera_rl_decision out = blank();

        detail::checked(::mavera_rl_check_at(handle_.get(), detail::bytes(key),
                                             key.size(), &limits, cost,
                                             now_ms, &out));
        return Decision(out);
    }

    /**
     * Whether check() would admit `cost` units now. Charges nothing; used()
     * does not count the `cost`.
     *
     * @throws Error as check().
     */
    [[nodiscard]] Decision peek(std::string_view key, const Policy &policy,
                                std::uint32_t cost = 1) const
    {
        const auto           limits = to_c(policy);
        ::mavera_rl_decision out = blank();

        detail::checked(::mavera_rl_peek(handle_.get(), detail::bytes(key),
                                         key.size(), &limits, cost, &out));
        return Decision(out);
    }

    /**
     * As peek(), at `now_ms`.
     *
     * @throws Error as check_at().
     */
    [[nodiscard]] Decision peek_at(std::string_view key, const Policy &policy,
                                   std::uint64_t now_ms,
                                   std::uint32_t cost = 1) const
    {
        const auto           limits = to_c(policy);
        ::mavera_rl_decision out = blank();

        detail::checked(::mavera_rl_peek_at(handle_.get(), detail::bytes(key),
                                            key.size(), &limits, cost, now_ms,
                                            &out));
        return Decision(out);
    }

    /**
     * check() of each request, on its own and in order, with the memory of
     * several asked for at once: for keys at random several times as fast.
     * What is wrong with a request is that one's code() and throws nothing.
     * Allocates.
     *
     * @throws Error from a handle that was moved from.
     */
    [[nodiscard]] std::vector<Decision>
    check_many(const std::vector<Request> &requests) const
    {
        return many(requests, [this](auto *in, std::size_t n, auto *out) {
            return ::mavera_rl_check_many(handle_.get(), in, n, out);
        });
    }

    /**
     * As check_many(), at `now_ms`.
     *
     * @throws Error as check_many().
     */
    [[nodiscard]] std::vector<Decision>
    check_many_at(const std::vector<Request> &requests,
                  std::uint64_t               now_ms) const
    {
        return many(requests, [&](auto *in, std::size_t n, auto *out) {
            return ::mavera_rl_check_many_at(handle_.get(), in, n, now_ms,
                                             out);
        });
    }

    /**
     * Takes a permit: at most `max` requests of a key and class are in flight
     * at once, on the whole host. It is free again when it is given back, and
     * when the process is dead, however it died.
     *
     * `class_id` tells a key's endpoints apart (mavera::class_id()). After
     * `lease_ms`, at most a day, another may take a permit that was not given
     * back, up to two seconds later; 0: never.
     *
     * @throws Error MAVERA_RL_EINVAL if `max` is not from 1 to the region's
     *         permit_cells, or for a lease of more than a day or where the
     *         caller supplies the time; MAVERA_RL_ESLOTS if the process
     *         cannot register with the region.
     */
    Acquired acquire(std::string_view key, std::uint32_t class_id,
                     std::uint32_t max, std::uint32_t lease_ms = 0) const
    {
        ::mavera_rl_permit out{};
        const int          code = detail::checked(::mavera_rl_acquire(
            handle_.get(), detail::bytes(key), key.size(), class_id, max,
            lease_ms, &out));

        return {static_cast<Outcome>(code), Permit(handle_.get(), out)};
    }

    /**
     * Requests of a key and class in flight. Those of a process that has just
     * died may still count.
     *
     * @throws Error from a handle that was moved from.
     */
    std::uint32_t in_flight(std::string_view key,
                            std::uint32_t    class_id) const
    {
        std::uint32_t out = 0;

        detail::checked(::mavera_rl_in_flight(
            handle_.get(), detail::bytes(key), key.size(), class_id, &out));
        return out;
    }

    /**
     * Whether a request may go on: by its tier's quota, one unit, and by the
     * limit on requests in flight of the plan's endpoint that `path`, the
     * request target as it came, falls under. A request refused for what is
     * in flight charges nothing, and one refused for its quota leaves nothing
     * in flight.
     *
     * `tier` is its name; std::nullopt: what the plan's [keys] say of the key.
     *
     * @throws Error MAVERA_RL_ENOENT if the plan has no such tier or key;
     *         MAVERA_RL_EINVAL if `tier` or `path` has a NUL in it; as
     *         check() and acquire(). Then nothing was charged.
     */
    Admission admit(const Plan &plan, std::string_view key,
                    const std::optional<std::string> &tier,
                    const std::string                &path) const
    {
        return admitted(tier, path, [&](auto *of, auto *on, auto *d, auto *p) {
            return ::mavera_rl_admit(handle_.get(), plan.raw(),
                                     detail::bytes(key), key.size(), of, on,
                                     d, p);
        });
    }

    /**
     * As admit(), at `now_ms`.
     *
     * @throws Error as admit(); MAVERA_RL_ECLOCK if the region reads a clock.
     */
    Admission admit_at(const Plan &plan, std::string_view key,
                       const std::optional<std::string> &tier,
                       const std::string                &path,
                       std::uint64_t                     now_ms) const
    {
        return admitted(tier, path, [&](auto *of, auto *on, auto *d, auto *p) {
            return ::mavera_rl_admit_at(handle_.get(), plan.raw(),
                                        detail::bytes(key), key.size(), of,
                                        on, now_ms, d, p);
        });
    }

    /**
     * As admit(), by a policy that the caller knows: a negotiated one that the
     * plan does not list.
     *
     * @throws Error MAVERA_RL_EINVAL if `path` has a NUL in it; as check()
     *         and acquire(). Then nothing was charged.
     */
    Admission admit(const Plan &plan, std::string_view key,
                    const Policy &policy, const std::string &path) const
    {
        const auto limits = to_c(policy);

        return admitted(
            std::nullopt, path, [&](auto *, auto *on, auto *d, auto *p) {
                return ::mavera_rl_admit_policy(handle_.get(), plan.raw(),
                                                detail::bytes(key), key.size(),
                                                &limits, on, d, p);
            });
    }

    /**
     * The same, at `now_ms`.
     *
     * @throws Error as admit(); MAVERA_RL_ECLOCK if the region reads a clock.
     */
    Admission admit_at(const Plan &plan, std::string_view key,
                       const Policy &policy, const std::string &path,
                       std::uint64_t now_ms) const
    {
        const auto limits = to_c(policy);

        return admitted(
            std::nullopt, path, [&](auto *, auto *on, auto *d, auto *p) {
                return ::mavera_rl_admit_policy_at(
                    handle_.get(), plan.raw(), detail::bytes(key), key.size(),
                    &limits, on, now_ms, d, p);
            });
    }

    /**
     * What the region is and has seen. The counters are exact when nobody
     * writes.
     *
     * @throws Error from a handle that was moved from.
     */
    Stats stats() const
    {
        ::mavera_rl_stats_t raw{};

        raw.size = sizeof(raw);
        detail::checked(::mavera_rl_stats(handle_.get(), &raw));
        return {raw.keys_capacity,
                raw.keys_held,
                raw.inserted,
                raw.evicted,
                raw.full,
                raw.bytes,
                raw.cells,
                raw.max_window_ms,
                static_cast<Clock>(raw.clock),
                static_cast<OnFull>(raw.on_full),
                raw.permit_capacity,
                raw.permit_cells};
    }

    /** The handle of the C interface; it stays this object's. */
    ::mavera_rl *raw() const noexcept { return handle_.get(); }

private:
    struct Close {
        void operator()(::mavera_rl *handle) const noexcept
        {
            ::mavera_rl_close(handle);
        }
    };

    explicit Limiter(::mavera_rl *handle) noexcept : handle_(handle) {}

    static Limiter opened(const char *path, const Options &options)
    {
        const auto   raw = to_c(options);
        ::mavera_rl *handle = nullptr;

        detail::checked(::mavera_rl_open(path, &raw, &handle));
        return Limiter(handle);
    }

    static ::mavera_rl_options to_c(const Options &options) noexcept
    {
        ::mavera_rl_options raw{};

        raw.size = sizeof(raw);
        raw.keys = options.keys;
        raw.cells = options.cells;
        raw.max_window_ms = options.max_window_ms;
        raw.clock = static_cast<std::uint32_t>(options.clock);
        raw.on_full = static_cast<std::uint32_t>(options.on_full);
        raw.mode = options.mode;
        std::copy(options.secret.begin(), options.secret.end(), raw.secret);
        raw.permit_keys = options.permit_keys;
        raw.permit_cells = options.permit_cells;
        return raw;
    }

    static ::mavera_rl_policy to_c(const Policy &policy) noexcept
    {
        ::mavera_rl_policy raw{};

        raw.size = sizeof(raw);
        raw.limit = policy.limit;
        raw.window_ms = policy.window_ms;
        return raw;
    }

    static ::mavera_rl_decision blank() noexcept
    {
        ::mavera_rl_decision raw{};

        raw.size = sizeof(raw);
        return raw;
    }

    template <typename Check>
    static std::vector<Decision> many(const std::vector<Request> &requests,
                                      Check                       check)
    {
        const std::size_t                 count = requests.size();
        std::vector<::mavera_rl_policy>   policies(count);
        std::vector<::mavera_rl_request>  in(count);
        std::vector<::mavera_rl_decision> out(count, blank());

        if (count == 0) {
            return {};
        }
        for (std::size_t i = 0; i < count; i++) {
            policies[i] = to_c(requests[i].policy);
            in[i].size = sizeof(in[i]);
            in[i].key = detail::bytes(requests[i].key);
            in[i].key_len = requests[i].key.size();
            in[i].policy = &policies[i];
            in[i].cost = requests[i].cost;
        }
        detail::checked(check(in.data(), count, out.data()));
        return {out.begin(), out.end()};
    }

    template <typename Admit>
    Admission admitted(const std::optional<std::string> &tier,
                       const std::string &path, Admit admit) const
    {
        const char *const    of = tier ? detail::c_string(*tier) : nullptr;
        ::mavera_rl_decision decision = blank();
        ::mavera_rl_permit   permit{};

        detail::checked(
            admit(of, detail::c_string(path), &decision, &permit));
        return {Decision(decision), Permit(handle_.get(), permit)};
    }

    std::unique_ptr<::mavera_rl, Close> handle_;
};

} // namespace mavera

#endif
