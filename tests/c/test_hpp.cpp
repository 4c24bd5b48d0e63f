/*
 * The C++ wrapper, include/mavera_rl.hpp. A program of its own:
 *
 *   c++ -std=c++17 -pthread test_hpp.cpp \
 *       $(pkg-config --cflags --libs mavera_rl) -o test_hpp && ./test_hpp
 *
 * Ends with "N passed, N failed"; the exit status is 1 when any check failed.
 */
#include <mavera_rl.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>
#include <type_traits>

#include <unistd.h>

namespace {

std::atomic<unsigned> passed;
std::atomic<unsigned> failed;

/* Not assert: that is gone with NDEBUG. */
#define CHECK(...) \
    check_that(static_cast<bool>(__VA_ARGS__), __LINE__, #__VA_ARGS__)

/* Whether `call` throws mavera::Error with that code and text in what(). */
#define CHECK_THROWS(want, text, ...) \
    check_throws([&] { (void) (__VA_ARGS__); }, (want), (text), __LINE__, \
                 #__VA_ARGS__)

void check_that(bool ok, int line, const char *what)
{
    ++(ok ? passed : failed);
    if (!ok) {
        std::printf("%s:%d: %s\n", __FILE__, line, what);
    }
}

template <typename Call>
void check_throws(Call call, int want, const char *text, int line,
                  const char *what)
{
    try {
        call();
    } catch (const mavera::Error &error) {
        const std::string said = error.what();

        check_that(error.code() == want
                       && said.find(text) != std::string::npos
                       && !said.empty(),
                   line, (what + (": " + said)).c_str());
        return;
    }
    check_that(false, line, what);
}

constexpr std::uint64_t  T0 = 1'000'003;
constexpr mavera::Policy THREE{3, 1000};
constexpr mavera::Policy STARTER{60};

mavera::Options small()
{
    mavera::Options options;

    options.keys = 100;
    return options;
}

mavera::Options caller_clock()
{
    auto options = small();

    options.clock = mavera::Clock::caller;
    return options;
}

/* A directory that is gone when the test ends. */
class Directory {
public:
    Directory()
    {
        char name[] = "/dev/shm/mavera-hpp.XXXXXX";
        const char *made = ::mkdtemp(name);

        if (made == nullptr) {
            std::perror(name);
            std::exit(1);
        }
        path_ = made;
    }

    Directory(const Directory &) = delete;
    Directory &operator=(const Directory &) = delete;

    ~Directory()
    {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    std::string operator/(const char *name) const { return path_ / name; }

private:
    std::filesystem::path path_;
};

void versions()
{
    CHECK(mavera::version() == mavera_rl_version());
    CHECK(!mavera::version().empty());
    CHECK(mavera::abi_version() == mavera_rl_abi_version());
}

void handles_are_moved_and_never_copied()
{
    using mavera::Limiter;
    using mavera::Plan;

    CHECK(!std::is_copy_constructible_v<Limiter>);
    CHECK(!std::is_copy_assignable_v<Limiter>);
    CHECK(std::is_nothrow_move_constructible_v<Limiter>);
    CHECK(std::is_nothrow_move_assignable_v<Limiter>);
    CHECK(!std::is_copy_constructible_v<Plan>);
    CHECK(!std::is_copy_assignable_v<Plan>);
    CHECK(std::is_nothrow_move_constructible_v<Plan>);
    CHECK(std::is_nothrow_move_assignable_v<Plan>);
    CHECK(std::is_copy_constructible_v<mavera::Decision>);
    /* A decision that nobody made must not look like "allowed". */
    CHECK(!std::is_default_constructible_v<mavera::Decision>);
    CHECK(std::is_nothrow_copy_constructible_v<mavera::Error>);
    CHECK(!std::is_copy_constructible_v<mavera::Permit>);
    CHECK(!std::is_copy_assignable_v<mavera::Permit>);
    CHECK(std::is_nothrow_move_constructible_v<mavera::Permit>);
    CHECK(std::is_nothrow_move_assignable_v<mavera::Permit>);
    CHECK(std::is_nothrow_default_constructible_v<mavera::Permit>);
    CHECK(std::is_nothrow_destructible_v<mavera::Permit>);
    CHECK(!std::is_convertible_v<mavera::Permit, bool>);
    CHECK(noexcept(std::declval<mavera::Permit &>().release()));
    CHECK(std::is_nothrow_move_constructible_v<mavera::Acquired>);
    CHECK(std::is_nothrow_move_constructible_v<mavera::Admission>);
}

void a_moved_handle_goes_on_and_the_old_one_throws()
{
    auto first = mavera::Limiter::in_process(caller_clock());
    CHECK(first.check_at("key", THREE, T0).remaining() == 2);

    auto second = std::move(first);
    CHECK(second.check_at("key", THREE, T0).remaining() == 1);
    CHECK(first.raw() == nullptr);
    CHECK_THROWS(MAVERA_RL_EINVAL, "", first.check_at("key", THREE, T0));
    CHECK_THROWS(MAVERA_RL_EINVAL, "", first.stats());

    first = std::move(second);
    CHECK(first.check_at("key", THREE, T0).remaining() == 0);

    auto plan = mavera::Plan::contract();
    auto moved = std::move(plan);
    CHECK(moved.policy("starter") == STARTER);
    CHECK_THROWS(MAVERA_RL_EINVAL, "", plan.policy("starter"));
    CHECK_THROWS(MAVERA_RL_EINVAL, "", plan.endpoints());
}

void a_refusal_is_a_value_and_waiting_is_enough()
{
    const auto limiter = mavera::Limiter::in_process(caller_clock());

    for (std::uint32_t used = 1; used <= 3; used++) {
        const auto decision = limiter.check_at("key", THREE, T0);

        CHECK(decision);
        CHECK(decision.allowed());
        CHECK(decision.outcome() == mavera::Outcome::allowed);
        CHECK(decision.code() == MAVERA_RL_ALLOWED);
        CHECK(decision.policy() == THREE);
        CHECK(decision.limit() == 3);
        CHECK(decision.used() == used);
        CHECK(decision.remaining() == 3 - used);
        CHECK(decision.retry_after_s() == 0);
        CHECK(decision.retry_after_ms() == 0);
        CHECK(!decision.untracked());
        CHECK(decision.body().empty());
    }

    const auto refused = limiter.check_at("key", THREE, T0 + 400);
    CHECK(!refused);
    CHECK(refused.outcome() == mavera::Outcome::limited);
    CHECK(refused.code() == MAVERA_RL_LIMITED);
    CHECK(refused.used() == 3);
    CHECK(refused.remaining() == 0);
    CHECK(refused.retry_after_s() == 1);
    CHECK(refused.reset_after_ms() == 1000);
    CHECK(refused.retry_after_ms() >= 600);
    CHECK(refused.retry_after_ms() <= 610);

    const auto when = T0 + 400 + refused.retry_after_ms();
    CHECK(!limiter.check_at("key", THREE, when - 1));
    CHECK(limiter.check_at("key", THREE, when));
}

void peek_charges_nothing_and_cost_counts()
{
    const auto limiter = mavera::Limiter::in_process(caller_clock());

    CHECK(limiter.peek_at("key", THREE, T0).used() == 0);
    CHECK(limiter.check_at("key", THREE, T0, 2).remaining() == 1);
    CHECK(limiter.peek_at("key", THREE, T0).used() == 2);
    CHECK(limiter.peek_at("key", THREE, T0));
    CHECK(!limiter.peek_at("key", THREE, T0, 2));
    CHECK(!limiter.check_at("key", THREE, T0, 2));
    CHECK(limiter.check_at("key", THREE, T0, 0).used() == 2);
    CHECK(limiter.check_at("key", THREE, T0, 1).remaining() == 0);
    CHECK(limiter.check_at("other", THREE, T0).remaining() == 2);
    /* Keys are bytes: what follows a NUL counts. */
    using namespace std::string_view_literals;
    CHECK(limiter.check_at("a\0b"sv, THREE, T0).remaining() == 2);
    CHECK(limiter.check_at("a\0c"sv, THREE, T0).remaining() == 2);
    CHECK(limiter.check_at("", THREE, T0).remaining() == 2);
    CHECK(limiter.check_at(std::string_view(), THREE, T0).remaining() == 1);
}

void the_regions_own_clock()
{
    const auto limiter = mavera::Limiter::in_process(small());

    CHECK(limiter.peek("key", STARTER).remaining() == 60);
    CHECK(limiter.check("key", STARTER).remaining() == 59);
    CHECK(limiter.check("key", STARTER, 9).remaining() == 50);

    const auto decision = limiter.check("key", STARTER);
    const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::system_clock::now().time_since_epoch());
    const auto until = static_cast<std::int64_t>(decision.reset_unix_ms())
        - now.count();
    CHECK(until > 50'000);
    CHECK(until < 61'000);
}

void errors_throw_with_code_and_text()
{
    const auto limiter = mavera::Limiter::in_process(small());
    const auto caller = mavera::Limiter::in_process(caller_clock());

    CHECK_THROWS(MAVERA_RL_ECOST, "", limiter.check("key", THREE, 4));
    CHECK_THROWS(MAVERA_RL_ECOST, "", limiter.check("key", {0, 1000}));
    CHECK_THROWS(MAVERA_RL_EINVAL, "", limiter.check("key", {1, 0}));
    CHECK_THROWS(MAVERA_RL_EINVAL, "60001",
                 limiter.check("key", {1, 60'001}));
    CHECK_THROWS(MAVERA_RL_EINVAL, "8388609",
                 limiter.check("key", {8'388'609, 1000}));
    CHECK_THROWS(MAVERA_RL_ECLOCK, "", limiter.check_at("key", THREE, T0));
    CHECK_THROWS(MAVERA_RL_ECLOCK, "", limiter.peek_at("key", THREE, T0));
    CHECK_THROWS(MAVERA_RL_ECLOCK, "", caller.check("key", THREE));
    CHECK_THROWS(MAVERA_RL_ECLOCK, "", caller.peek("key", THREE));

    auto options = small();
    options.cells = 7;
    CHECK_THROWS(MAVERA_RL_EINVAL, "", mavera::Limiter::in_process(options));
    CHECK_THROWS(MAVERA_RL_EINVAL, "", mavera::Limiter::region_size(options));

    /* For those who catch what the standard has. */
    bool caught = false;
    try {
        (void) limiter.check("key", THREE, 4);
    } catch (const std::runtime_error &) {
        caught = true;
    }
    CHECK(caught);
}

void handles_on_one_file_share_one_limit()
{
    const Directory directory;
    const auto      path = directory / "region";

    {
        const auto first = mavera::Limiter::open(path, small());
        const auto second = mavera::Limiter::open(path);

        CHECK(first.check("key", STARTER).remaining() == 59);
        CHECK(second.check("key", STARTER).remaining() == 58);
        CHECK(second.stats().keys_held == 1);
    }
    CHECK(std::filesystem::exists(path));
    CHECK(mavera::Limiter::open(path).check("key", STARTER).remaining()
          == 57);

    auto other = small();
    other.keys = 200;
    CHECK_THROWS(MAVERA_RL_EMISMATCH, "200",
                 mavera::Limiter::open(path, other));
    CHECK_THROWS(MAVERA_RL_EMISMATCH, "100",
                 mavera::Limiter::open(path, other));
    CHECK_THROWS(MAVERA_RL_ESYS, "missing",
                 mavera::Limiter::open(directory / "missing/region"));
    CHECK_THROWS(MAVERA_RL_EINVAL, "NUL",
                 mavera::Limiter::open(path + std::string("\0x", 2)));
    CHECK_THROWS(MAVERA_RL_ESYS, "", mavera::Limiter::open(""));
}

void the_callers_memory()
{
    std::vector<std::uint64_t> memory(
        mavera::Limiter::region_size(small()) / sizeof(std::uint64_t) + 1);
    const auto bytes = memory.size() * sizeof(memory[0]);

    {
        const auto limiter =
            mavera::Limiter::in_memory(memory.data(), bytes, small());

        CHECK(limiter.check("key", STARTER).remaining() == 59);
        CHECK(limiter.stats().bytes <= bytes);
    }
    /* Cleared when it is used again. */
    CHECK(mavera::Limiter::in_memory(memory.data(), bytes, small())
              .check("key", STARTER)
              .remaining()
          == 59);
    CHECK_THROWS(MAVERA_RL_ENOMEM, "",
                 mavera::Limiter::in_memory(memory.data(), 64, small()));
    CHECK_THROWS(MAVERA_RL_EINVAL, "",
                 mavera::Limiter::in_memory(nullptr, bytes, small()));
}

void options_reach_the_region()
{
    auto options = caller_clock();

    options.cells = 16;
    options.max_window_ms = 5000;
    options.on_full = mavera::OnFull::allow;
    options.permit_keys = 1000;
    options.permit_cells = 24;
    const auto stats = mavera::Limiter::in_process(options).stats();
    CHECK(stats.cells == 16);
    CHECK(stats.max_window_ms == 5000);
    CHECK(stats.clock == mavera::Clock::caller);
    CHECK(stats.on_full == mavera::OnFull::allow);
    CHECK(stats.keys_capacity >= 100);
    CHECK(stats.keys_held == 0);
    CHECK(stats.inserted == 0);
    CHECK(stats.evicted == 0);
    CHECK(stats.full == 0);
    CHECK(stats.permit_cells == 24);
    CHECK(stats.permit_capacity >= 2000);

    const auto plain = mavera::Limiter::in_process(small()).stats();
    CHECK(plain.cells == 64);
    CHECK(plain.max_window_ms == 60'000);
    CHECK(plain.clock == mavera::Clock::precise);
    CHECK(plain.on_full == mavera::OnFull::deny);
    CHECK(plain.permit_cells == 16);
    CHECK(plain.permit_capacity < 1000);

    options.permit_cells = 12;
    CHECK_THROWS(MAVERA_RL_EINVAL, "permit_cells is 12",
                 mavera::Limiter::in_process(options));
}

void a_file_has_the_mode_asked_for()
{
    const Directory directory;
    auto            options = small();
    const auto      mode = [&](const char *name) {
        const auto path = directory / name;

        (void) mavera::Limiter::open(path, options);
        return static_cast<unsigned>(
            std::filesystem::status(path).permissions());
    };

    CHECK(mode("default") == 0600);
    options.mode = 0640;
    CHECK(mode("asked") == 0640);
}

void a_full_table_answers_by_policy()
{
    auto options = caller_clock();
    options.keys = 1;
    const auto deny = mavera::Limiter::in_process(options);
    options.on_full = mavera::OnFull::allow;
    const auto allow = mavera::Limiter::in_process(options);

    for (std::uint64_t i = 0; i < deny.stats().keys_capacity; i++) {
        (void) deny.check_at(std::to_string(i), STARTER, T0);
        (void) allow.check_at(std::to_string(i), STARTER, T0);
    }
    const auto denied = deny.check_at("one more", STARTER, T0);
    CHECK(!denied);
    CHECK(denied.outcome() == mavera::Outcome::full);
    CHECK(denied.retry_after_s() >= 1);
    CHECK(!denied.body().empty());
    CHECK(deny.stats().full >= 1);

    const auto allowed = allow.check_at("one more", STARTER, T0);
    CHECK(allowed);
    CHECK(allowed.untracked());
}

void many_requests_each_have_their_answer()
{
    const auto limiter = mavera::Limiter::in_process(caller_clock());
    const std::vector<mavera::Request> requests{
        {"a", THREE},       {"b", THREE, 3}, {"a", THREE, 2},
        {"a", THREE},       {"b", THREE, 4}, {"d", {3, 0}},
        {"c", STARTER, 60}, {"c", STARTER},
    };
    const auto answers = limiter.check_many_at(requests, T0);

    CHECK(answers.size() == requests.size());
    CHECK(answers.at(0).remaining() == 2);
    CHECK(answers.at(1).remaining() == 0);
    CHECK(answers.at(2).remaining() == 0);
    CHECK(answers.at(3).outcome() == mavera::Outcome::limited);
    CHECK(answers.at(4).outcome() == mavera::Outcome::failed);
    CHECK(answers.at(4).code() == MAVERA_RL_ECOST);
    CHECK(!answers.at(4));
    CHECK(answers.at(5).code() == MAVERA_RL_EINVAL);
    CHECK(answers.at(6).allowed());
    CHECK(answers.at(7).headers().size() == 4);

    CHECK(limiter.check_many_at({}, T0).empty());
    CHECK(limiter.check_many({{"a", THREE}}).at(0).code()
          == MAVERA_RL_ECLOCK);

    const auto own = mavera::Limiter::in_process(small());
    CHECK(own.check_many({{"a", THREE}}).at(0).remaining() == 2);
    CHECK(own.check_many_at({{"a", THREE}}, T0).at(0).code()
          == MAVERA_RL_ECLOCK);
}

void headers_and_body()
{
    mavera_rl_decision raw{};
    raw.size = sizeof(raw);
    raw.limit = 60;
    raw.used = 15;
    raw.remaining = 45;
    raw.window_ms = 60'000;
    raw.reset_after_ms = 12'000;
    raw.reset_unix_ms = 1'700'000'012'000;
    const mavera::Decision allowed(raw);
    raw.outcome = MAVERA_RL_LIMITED;
    raw.used = 60;
    raw.remaining = 0;
    raw.retry_after_s = 12;
    raw.retry_after_ms = 11'500;
    const mavera::Decision refused(raw);

    const std::vector<mavera::Header> legacy{
        {"X-RateLimit-Limit", "60"},
        {"X-RateLimit-Remaining", "45"},
        {"X-RateLimit-Reset", "1700000012"},
    };
    CHECK(allowed.headers() == legacy);
    CHECK(allowed.header_lines()
          == "X-RateLimit-Limit: 60\r\n"
             "X-RateLimit-Remaining: 45\r\n"
             "X-RateLimit-Reset: 1700000012\r\n");

    const std::vector<mavera::Header> ietf{
        {"RateLimit-Policy", "\"default\";q=60;w=60"},
        {"RateLimit", "\"default\";r=0;t=12"},
        {"Retry-After", "12"},
    };
    CHECK(refused.headers(mavera::Flavour::ietf) == ietf);

    for (const auto *decision : {&allowed, &refused}) {
        std::string lines;

        for (const auto &[name, value] :
             decision->headers(mavera::Flavour::both)) {
            lines += name + ": " + value + "\r\n";
        }
        CHECK(lines == decision->header_lines(mavera::Flavour::both));
    }
    CHECK(refused.headers(mavera::Flavour::both).size() == 6);

    CHECK(allowed.body().empty());
    CHECK(refused.body()
          == "{\"error\":{\"message\":\"Rate limit exceeded. Please retry "
             "after 12 seconds.\",\"type\":\"rate_limit_error\",\"code\":"
             "\"rate_limit_exceeded\",\"param\":null}}");
    CHECK(refused.raw().retry_after_s == 12);
}

void the_contracts_plan()
{
    const auto plan = mavera::Plan::contract();

    CHECK(plan.policy("starter") == STARTER);
    CHECK(plan.policy("basic") == mavera::Policy{120});
    CHECK(plan.policy("professional") == mavera::Policy{240});
    CHECK(plan.policy("enterprise") == mavera::Policy{600});
    CHECK(!plan.policy("gold"));
    CHECK(!plan.key_policy("any"));
    CHECK(!plan.key_policy(""));

    const auto endpoints = plan.endpoints();
    CHECK(endpoints.size() == 3);
    CHECK(endpoints.at(0).path == "/mave/chat");
    CHECK(endpoints.at(0).max_in_flight == 10);
    CHECK(endpoints.at(1).path == "/focus-groups");
    CHECK(endpoints.at(1).max_in_flight == 5);
    CHECK(endpoints.at(2).path == "/video-analyses");
    CHECK(endpoints.at(2).max_in_flight == 3);
    for (const auto &endpoint : endpoints) {
        CHECK(endpoint.class_id == mavera::class_id(endpoint.path));
        CHECK(plan.endpoint(endpoint.path + "/7?x")->path == endpoint.path);
    }
    CHECK(endpoints.at(0).class_id == 0x5b0a4851);
    CHECK(mavera::class_id("/mave/chat/") == 0x5b0a4851);
    CHECK(plan.endpoint("/x/../mave/chat")->class_id == 0x5b0a4851);
    CHECK(plan.endpoint("/mave/chat")->max_in_flight == 10);
    CHECK(!plan.endpoint("/models"));
    CHECK(!plan.endpoint(""));
    using namespace std::string_literals;
    CHECK_THROWS(MAVERA_RL_EINVAL, "NUL", plan.endpoint("/mave/chat\0x"s));
    CHECK_THROWS(MAVERA_RL_EINVAL, "NUL", mavera::class_id("\0"s));

    plan.set_tier("starter", {90, 30'000});
    CHECK(plan.policy("starter") == mavera::Policy{90, 30'000});
    CHECK_THROWS(MAVERA_RL_ENOENT, "", plan.set_tier("gold", STARTER));
    CHECK_THROWS(MAVERA_RL_EINVAL, "", plan.set_tier("starter", {1, 0}));
    CHECK(plan.policy("starter") == mavera::Policy{90, 30'000});
}

void a_plan_file()
{
    const Directory directory;
    const auto      path = directory / "plan.toml";

    std::ofstream(path) << "[tiers]\n"
                           "starter = 60\n"
                           "trial = { limit = 5, window = \"2s\" }\n"
                           "[endpoints]\n"
                           "\"/only\" = 7\n"
                           "[keys]\n"
                           "\"key-one\" = \"trial\"\n"
                           "\"key-big\" = { tier = \"starter\", "
                           "limit = 5000 }\n";
    const auto plan = mavera::Plan::load(path);
    CHECK(plan.policy("trial") == mavera::Policy{5, 2000});
    CHECK(plan.key_policy("key-one") == mavera::Policy{5, 2000});
    CHECK(plan.key_policy("key-big") == mavera::Policy{5000});
    CHECK(!plan.key_policy("key-none"));
    CHECK(plan.endpoints().size() == 1);

    std::ofstream(path) << "[tiers]\nstarter = 60\nbasic = \"x\"\n";
    CHECK_THROWS(MAVERA_RL_EPLAN, "plan.toml:3", mavera::Plan::load(path));
    CHECK_THROWS(MAVERA_RL_EPLAN, "missing",
                 mavera::Plan::load(directory / "missing"));
}

void threads_share_one_handle_and_one_limit()
{
    const auto               limiter = mavera::Limiter::in_process(small());
    const mavera::Policy     policy{1000};
    std::atomic<unsigned>    admitted{0};
    std::vector<std::thread> threads;

    for (int i = 0; i < 4; i++) {
        threads.emplace_back([&] {
            for (int j = 0; j < 500; j++) {
                admitted += limiter.check("key", policy) ? 1 : 0;
            }
        });
    }
    for (auto &thread : threads) {
        thread.join();
    }
    CHECK(admitted == 1000);
}

constexpr std::uint32_t CLASS = 7;

void a_permit_is_given_back_when_it_goes()
{
    const auto limiter = mavera::Limiter::in_process(small());

    {
        const auto first = limiter.acquire("key", CLASS, 2);
        auto       second = limiter.acquire("key", CLASS, 2);

        CHECK(first);
        CHECK(first.outcome == mavera::Outcome::allowed);
        CHECK(first.permit);
        CHECK(second.permit);
        CHECK(limiter.in_flight("key", CLASS) == 2);

        const auto refused = limiter.acquire("key", CLASS, 2);
        CHECK(!refused);
        CHECK(refused.outcome == mavera::Outcome::busy);
        CHECK(!refused.permit);
        CHECK(limiter.acquire("key", CLASS + 1, 2));
        CHECK(limiter.acquire("other", CLASS, 2));
        CHECK(limiter.acquire(std::string_view(), CLASS, 2));

        CHECK(second.permit.release());
        CHECK(!second.permit);
        CHECK(!second.permit.release());
        CHECK(limiter.in_flight("key", CLASS) == 1);
    }
    CHECK(limiter.in_flight("key", CLASS) == 0);
    CHECK(!mavera::Permit());
    CHECK(!mavera::Permit().release());
}

void a_permit_moves_and_is_given_back_once()
{
    const auto limiter = mavera::Limiter::in_process(small());

    auto first = limiter.acquire("key", CLASS, 3).permit;
    auto second = std::move(first);
    CHECK(!first);
    CHECK(!first.release());
    CHECK(second);
    CHECK(limiter.in_flight("key", CLASS) == 1);

    auto &itself = second;
    second = std::move(itself);
    CHECK(second);
    CHECK(limiter.in_flight("key", CLASS) == 1);

    // What was held before goes.
    second = limiter.acquire("key", CLASS, 3).permit;
    CHECK(second);
    CHECK(limiter.in_flight("key", CLASS) == 1);
    second = mavera::Permit();
    CHECK(!second);
    CHECK(limiter.in_flight("key", CLASS) == 0);

    std::vector<mavera::Permit> permits;
    for (int i = 0; i < 10; i++) {
        permits.push_back(limiter.acquire("key", CLASS, 10).permit);
    }
    CHECK(limiter.in_flight("key", CLASS) == 10);
    std::thread([&] { permits.clear(); }).join();
    CHECK(limiter.in_flight("key", CLASS) == 0);
}

void a_detached_permit_is_the_c_interfaces()
{
    const auto limiter = mavera::Limiter::in_process(small());
    auto       permit = limiter.acquire("key", CLASS, 1).permit;
    const auto raw = permit.detach();

    CHECK(!permit);
    CHECK(!permit.release());
    CHECK(limiter.in_flight("key", CLASS) == 1);
    {
        mavera::Permit again(limiter.raw(), raw);
        CHECK(again);
    }
    CHECK(limiter.in_flight("key", CLASS) == 0);
    CHECK(mavera_rl_release(limiter.raw(), raw) == MAVERA_RL_NOT_HELD);
    CHECK(!mavera::Permit(limiter.raw(), raw).release());
}

void a_moved_limiters_permits_stay_valid()
{
    std::vector<std::uint64_t> memory(
        mavera::Limiter::region_size(small()) / sizeof(std::uint64_t) + 1);
    const auto bytes = memory.size() * sizeof(memory[0]);

    for (const bool own : {false, true}) {
        auto first = own ? mavera::Limiter::in_memory(memory.data(), bytes,
                                                      small())
                         : mavera::Limiter::in_process(small());
        auto permit = first.acquire("key", CLASS, 2).permit;
        auto other = first.acquire("key", CLASS, 2).permit;
        const auto second = std::move(first);

        CHECK(second.in_flight("key", CLASS) == 2);
        CHECK(permit.release());
        CHECK(second.in_flight("key", CLASS) == 1);
        CHECK_THROWS(MAVERA_RL_EINVAL, "", first.acquire("key", CLASS, 2));
        CHECK_THROWS(MAVERA_RL_EINVAL, "", first.in_flight("key", CLASS));
        CHECK(other.release());
    }
}

void a_permit_that_cannot_be_throws()
{
    const auto limiter = mavera::Limiter::in_process(small());
    const auto caller = mavera::Limiter::in_process(caller_clock());

    CHECK_THROWS(MAVERA_RL_EINVAL, "max is 0",
                 limiter.acquire("key", CLASS, 0));
    CHECK_THROWS(MAVERA_RL_EINVAL, "max is 17",
                 limiter.acquire("key", CLASS, 17));
    CHECK_THROWS(MAVERA_RL_EINVAL, "86400001",
                 limiter.acquire("key", CLASS, 1, 86'400'001));
    CHECK_THROWS(MAVERA_RL_EINVAL, "lease",
                 caller.acquire("key", CLASS, 1, 1000));
    CHECK(limiter.acquire("key", CLASS, 1, 86'400'000).permit);
    CHECK(limiter.in_flight("key", CLASS) == 0);
    CHECK(caller.acquire("key", CLASS, 1).permit);
}

void a_lease_that_has_ended_is_not_held()
{
    const auto limiter = mavera::Limiter::in_process(small());
    auto       lost = limiter.acquire("key", CLASS, 1, 1);
    auto       next = limiter.acquire("key", CLASS, 1);
    const auto until = std::chrono::steady_clock::now()
        + std::chrono::seconds(20);

    CHECK(lost.permit);
    while (!next && std::chrono::steady_clock::now() < until) {
        next = limiter.acquire("key", CLASS, 1);
    }
    CHECK(next.permit);
    CHECK(!lost.permit.release());
    CHECK(limiter.in_flight("key", CLASS) == 1);
}

void a_full_table_of_permits_answers_by_policy()
{
    auto options = small();
    options.permit_keys = 1;

    for (const auto policy : {mavera::OnFull::deny, mavera::OnFull::allow}) {
        options.on_full = policy;
        const auto limiter = mavera::Limiter::in_process(options);
        std::vector<mavera::Permit> held;

        for (std::uint64_t i = 0; i < limiter.stats().permit_capacity; i++) {
            held.push_back(
                limiter.acquire(std::to_string(i), CLASS, 1).permit);
            CHECK(held.back());
        }
        const auto answer = limiter.acquire("one more", CLASS, 1);
        CHECK(answer.outcome
              == (policy == mavera::OnFull::deny
                      ? mavera::Outcome::full
                      : mavera::Outcome::allowed));
        CHECK(!answer.permit);
    }
}

void admission_asks_for_both()
{
    const auto  limiter = mavera::Limiter::in_process(caller_clock());
    const auto  plan = mavera::Plan::contract();
    const char *path = "/video-analyses?x=1";
    std::vector<mavera::Permit> held;

    for (std::uint32_t i = 1; i <= 3; i++) {
        auto [decision, permit] =
            limiter.admit_at(plan, "key", "starter", path, T0);

        CHECK(decision);
        CHECK(permit);
        CHECK(decision.used() == i);
        CHECK(decision.in_flight() == i);
        CHECK(decision.max_in_flight() == 3);
        CHECK(decision.endpoint() == "/video-analyses");
        held.push_back(std::move(permit));
    }
    const auto busy = limiter.admit_at(plan, "key", "starter", path, T0);
    CHECK(!busy);
    CHECK(!busy.permit);
    CHECK(busy.decision.outcome() == mavera::Outcome::busy);
    CHECK(busy.decision.code() == MAVERA_RL_BUSY);
    CHECK(busy.decision.remaining() == 57);
    CHECK(busy.decision.retry_after_s() == 1);
    CHECK(busy.decision.body().find("concurrency_limit_exceeded")
          != std::string::npos);
    CHECK(busy.decision.body().find(" on /video-analyses: at most 3 ")
          != std::string::npos);
    CHECK(busy.decision.header_lines().find("Retry-After: 1\r\n")
          != std::string::npos);
    CHECK(busy.decision.header_lines(mavera::Flavour::ietf)
              .find("qu=\"concurrent-requests\"")
          != std::string::npos);
    held.clear();

    for (std::uint32_t used = 4; used <= 60; used++) {
        const auto admission =
            limiter.admit_at(plan, "key", "starter", "/models", T0);

        CHECK(admission);
        CHECK(!admission.permit);
        CHECK(admission.decision.endpoint().empty());
        CHECK(admission.decision.in_flight() == 0);
        CHECK(admission.decision.max_in_flight() == 0);
    }
    const auto limited = limiter.admit_at(plan, "key", "starter", path, T0);
    CHECK(limited.decision.outcome() == mavera::Outcome::limited);
    CHECK(!limited.permit);
    CHECK(limiter.in_flight("key", mavera::class_id("/video-analyses"))
          == 0);
    /* Where no permit was asked for. */
    const auto checked = limiter.check_at("other", STARTER, T0);
    CHECK(checked.endpoint().empty());
    CHECK(checked.max_in_flight() == 0);
}

void admission_by_a_negotiated_policy()
{
    const auto           limiter = mavera::Limiter::in_process(caller_clock());
    auto                 plan = mavera::Plan::contract();
    const mavera::Policy one{1, 60000};

    CHECK(limiter.admit_at(plan, "key", one, "/mave/chat", T0));
    const auto second = limiter.admit_at(plan, "key", one, "/mave/chat", T0);
    CHECK(!second && second.decision.limit() == 1);
    CHECK_THROWS(MAVERA_RL_ECLOCK, "",
                 limiter.admit(plan, "key", one, "/mave/chat"));
}

void admission_that_cannot_be_answered_throws()
{
    const auto limiter = mavera::Limiter::in_process(caller_clock());
    auto       plan = mavera::Plan::contract();

    CHECK_THROWS(MAVERA_RL_ENOENT, "",
                 limiter.admit_at(plan, "key", "gold", "/mave/chat", T0));
    CHECK_THROWS(
        MAVERA_RL_ENOENT, "",
        limiter.admit_at(plan, "key", std::nullopt, "/mave/chat", T0));
    CHECK_THROWS(MAVERA_RL_ECLOCK, "",
                 limiter.admit(plan, "key", "starter", "/mave/chat"));
    using namespace std::string_literals;
    CHECK_THROWS(MAVERA_RL_EINVAL, "NUL",
                 limiter.admit_at(plan, "key", "star\0ter"s, "/", T0));
    CHECK_THROWS(MAVERA_RL_EINVAL, "NUL",
                 limiter.admit_at(plan, "key", "starter", "/\0"s, T0));
    CHECK(limiter.in_flight("key", mavera::class_id("/mave/chat")) == 0);
    CHECK(limiter.stats().inserted == 0);

    const auto moved = std::move(plan);
    CHECK_THROWS(MAVERA_RL_EINVAL, "plan",
                 limiter.admit_at(plan, "key", "starter", "/", T0));
    CHECK(limiter.admit_at(moved, "key", "starter", "/", T0));
}

void admission_by_a_plan_file()
{
    const Directory directory;
    const auto      path = directory / "plan.toml";

    std::ofstream(path) << "[tiers]\nstarter = 60\n[endpoints]\n"
                           "\"/mave/chat\" = { in_flight = 2, also = "
                           "[\"/*/mave/chat\"], lease = \"5m\" }\n"
                           "[keys]\n\"key\" = \"starter\"\n";
    const auto plan = mavera::Plan::load(path);
    const auto limiter = mavera::Limiter::open(directory / "region");
    const auto other = mavera::Limiter::open(directory / "region");

    const auto first = limiter.admit(plan, "key", std::nullopt,
                                     "/mave/chat");
    const auto second = other.admit(plan, "key", std::nullopt,
                                    "/v1/mave/chat/7?x");
    CHECK(first);
    CHECK(second);
    CHECK(first.permit);
    CHECK(second.permit);
    CHECK(second.decision.in_flight() == 2);
    CHECK(second.decision.endpoint() == "/mave/chat");
    CHECK(limiter.admit(plan, "key", "starter", "/v2/mave/chat")
              .decision.outcome()
          == mavera::Outcome::busy);
}

void threads_never_hold_more_than_there_are()
{
    const auto               limiter = mavera::Limiter::in_process(small());
    std::atomic<unsigned>    holders{0};
    std::atomic<unsigned>    wrong{0};
    std::vector<std::thread> threads;

    for (int i = 0; i < 4; i++) {
        threads.emplace_back([&] {
            for (int j = 0; j < 5000; j++) {
                if (const auto held = limiter.acquire("key", CLASS, 3)) {
                    wrong += holders++ >= 3 ? 1 : 0;
                    holders--;
                }
            }
        });
    }
    for (auto &thread : threads) {
        thread.join();
    }
    CHECK(wrong == 0);
    CHECK(limiter.in_flight("key", CLASS) == 0);
}

} // namespace

int main()
{
    alarm(600); // a hang is a failure too

    versions();
    handles_are_moved_and_never_copied();
    a_moved_handle_goes_on_and_the_old_one_throws();
    a_refusal_is_a_value_and_waiting_is_enough();
    peek_charges_nothing_and_cost_counts();
    the_regions_own_clock();
    errors_throw_with_code_and_text();
    handles_on_one_file_share_one_limit();
    the_callers_memory();
    options_reach_the_region();
    a_file_has_the_mode_asked_for();
    a_full_table_answers_by_policy();
    many_requests_each_have_their_answer();
    headers_and_body();
    the_contracts_plan();
    a_plan_file();
    threads_share_one_handle_and_one_limit();
    a_permit_is_given_back_when_it_goes();
    a_permit_moves_and_is_given_back_once();
    a_detached_permit_is_the_c_interfaces();
    a_moved_limiters_permits_stay_valid();
    a_permit_that_cannot_be_throws();
    a_lease_that_has_ended_is_not_held();
    a_full_table_of_permits_answers_by_policy();
    admission_asks_for_both();
    admission_by_a_negotiated_policy();
    admission_that_cannot_be_answered_throws();
    admission_by_a_plan_file();
    threads_never_hold_more_than_there_are();

    std::printf("%u passed, %u failed\n", passed.load(), failed.load());
    return failed > 0 || passed == 0;
}
