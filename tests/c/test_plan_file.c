/* Plan files, good and bad. A bad one is refused whole, and the error says
 * where: file, line and key. */
#include "support.h"

#include <unistd.h>

static char dir[64];

static int load_text(const char *text, mavera_rl_plan **plan)
{
    int rc;

    write_file(path_in(dir, "plan.toml"), text, strlen(text));
    rc = mavera_rl_plan_load(path_in(dir, "plan.toml"), plan);
    CHECK_INT(unlink(path_in(dir, "plan.toml")), 0);
    return rc;
}

static mavera_rl_plan *load(const char *text)
{
    mavera_rl_plan *plan = NULL;

    if (!CHECK_INT(load_text(text, &plan), 0)) {
        printf("  %s\n", last_error());
    }
    return plan;
}

static void tier(const mavera_rl_plan *plan, const char *name,
    uint32_t limit, uint32_t window_ms)
{
    mavera_rl_policy policy = policy_of(0, 0);

    CHECK_INT(mavera_rl_plan_policy(plan, name, &policy), 0);
    CHECK_INT(policy.limit, limit);
    CHECK_INT(policy.window_ms, window_ms);
}

static void key(const mavera_rl_plan *plan, const char *name, uint32_t limit,
    uint32_t window_ms)
{
    mavera_rl_policy policy = policy_of(0, 0);

    CHECK_INT(mavera_rl_plan_key_policy(plan, name, strlen(name), &policy),
        0);
    CHECK_INT(policy.limit, limit);
    CHECK_INT(policy.window_ms, window_ms);
}

/* `name` is what has to be named besides file and line; NULL: nothing. */
static void bad(const char *text, unsigned line, const char *name)
{
    mavera_rl_plan *plan, *const none = (mavera_rl_plan *) &plan;
    char            what[512];

    plan = none;
    if (!CHECK_INT(load_text(text, &plan), MAVERA_RL_EPLAN)) {
        printf("  %s\n", text);
    }
    CHECK(plan == none);
    snprintf(what, sizeof(what), "names file, line %u and %s: %s", line,
        name == NULL ? "nothing else" : name, last_error());
    check_that(strstr(last_error(), "plan.toml") != NULL
        && names_line(last_error(), line)
        && (name == NULL || strstr(last_error(), name) != NULL),
        __FILE__, __LINE__, what);
}

static void a_plan_file_says_tiers_endpoints_and_keys(void)
{
    mavera_rl_plan      *plan = load(
        "# negotiated limits\n"
        "[tiers]\n"
        "starter = 60\n"
        "enterprise = { limit = 600, window = \"2s\" }\n"
        "\n"
        "[endpoints]\n"
        "\"/mave/chat\" = 10\n"
        "\"/batch\" = 2\n"
        "\n"
        "[keys]\n"
        "\"key-one\" = \"starter\"\n"
        "\"key-big\" = { tier = \"enterprise\", limit = 5000 }\n");
    mavera_rl_policy     policy = policy_of(0, 0);
    mavera_rl_endpoint   endpoint;
    int                  chat = 0, batch = 0;

    REQUIRE(plan != NULL);
    tier(plan, "starter", 60, MINUTE);
    tier(plan, "enterprise", 600, 2000);
    key(plan, "key-one", 60, MINUTE);
    key(plan, "key-big", 5000, 2000);
    CHECK_INT(mavera_rl_plan_key_policy(plan, "key-two", 7, &policy),
        MAVERA_RL_ENOENT);
    /* By length, not up to a NUL. */
    CHECK_INT(mavera_rl_plan_key_policy(plan, "key-one", 6, &policy),
        MAVERA_RL_ENOENT);
    CHECK_INT(mavera_rl_plan_key_policy(plan, "key-one", 8, &policy),
        MAVERA_RL_ENOENT);
    for (size_t i = 0; i < 2; i++) {
        memset(&endpoint, 0, sizeof(endpoint));
        endpoint.size = sizeof(endpoint);
        REQUIRE(mavera_rl_plan_endpoint_at(plan, i, &endpoint) == 0);
        chat += strcmp(endpoint.path, "/mave/chat") == 0
            && endpoint.max_in_flight == 10;
        batch += strcmp(endpoint.path, "/batch") == 0
            && endpoint.max_in_flight == 2;
    }
    CHECK_INT(chat, 1);
    CHECK_INT(batch, 1);
    CHECK_INT(mavera_rl_plan_endpoint_at(plan, 2, &endpoint),
        MAVERA_RL_ENOENT);
    mavera_rl_plan_free(plan);
}

static void a_tier_change_reaches_the_keys_of_that_tier(void)
{
    mavera_rl_plan *plan = load(
        "[tiers]\nstarter = 60\n[keys]\n\"one\" = \"starter\"\n"
        "\"big\" = { tier = \"starter\", limit = 5000 }\n");
    mavera_rl_policy policy = policy_of(0, 0);

    REQUIRE(plan != NULL);
    CHECK_INT(mavera_rl_plan_set_tier(plan, "starter", 90, 30000), 0);
    tier(plan, "starter", 90, 30000);
    key(plan, "one", 90, 30000);
    /* What was negotiated stays. */
    CHECK_INT(mavera_rl_plan_key_policy(plan, "big", 3, &policy), 0);
    CHECK_INT(policy.limit, 5000);
    mavera_rl_plan_free(plan);
}

static void windows_are_milliseconds_or_have_a_unit(void)
{
    static const struct { const char *text; uint32_t ms; } cases[] = {
        { "1500", 1500 }, { "1", 1 }, { "\"500ms\"", 500 },
        { "\"60s\"", 60000 }, { "\"5m\"", 300000 }, { "\"1h\"", 3600000 },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char            text[256];
        mavera_rl_plan *plan;

        snprintf(text, sizeof(text), "window = %s\n[tiers]\na = 5\n"
            "b = { limit = 6 }\nc = { limit = 7, window = \"7s\" }\n",
            cases[i].text);
        plan = load(text);
        REQUIRE(plan != NULL);
        tier(plan, "a", 5, cases[i].ms);
        tier(plan, "b", 6, cases[i].ms);
        tier(plan, "c", 7, 7000);
        mavera_rl_plan_free(plan);
        snprintf(text, sizeof(text),
            "[tiers]\na = { limit = 5, window = %s }\nb = 6\n",
            cases[i].text);
        plan = load(text);
        REQUIRE(plan != NULL);
        tier(plan, "a", 5, cases[i].ms);
        tier(plan, "b", 6, MINUTE);
        mavera_rl_plan_free(plan);
    }
}

static void the_longest_window_is_that_of_any_tier_or_key(void)
{
    mavera_rl_plan *plan = load("[tiers]\na = 1\nb = { limit = 1, "
        "window = \"5m\" }\n[keys]\nk = { limit = 1, window = \"2h\" }\n");

    CHECK_INT(mavera_rl_plan_max_window_ms(plan), 7200000);
    mavera_rl_plan_free(plan);
    plan = load("[tiers]\na = { limit = 1, window = 250 }\n");
    CHECK_INT(mavera_rl_plan_max_window_ms(plan), 250);
    CHECK_INT(mavera_rl_plan_set_tier(plan, "a", 1, 70000), 0);
    CHECK_INT(mavera_rl_plan_max_window_ms(plan), 70000);
    mavera_rl_plan_free(plan);
    CHECK_INT(mavera_rl_plan_max_window_ms(NULL), 0);
}

static void line_endings_and_names_of_all_kinds_are_read(void)
{
    mavera_rl_plan *plan = load(
        "[tiers]\r\n\"Tier \xC3\xA9t\xC3\xA9\" = 8_388_608\r\n"
        "a-b_c = 0x10 # sixteen\r\n[keys]\r\n'sk-1.2/3 \"x\"' = 'a-b_c'");

    REQUIRE(plan != NULL);
    tier(plan, "Tier \xC3\xA9t\xC3\xA9", LIMIT_MAX, MINUTE);
    tier(plan, "a-b_c", 16, MINUTE);
    key(plan, "sk-1.2/3 \"x\"", 16, MINUTE);
    mavera_rl_plan_free(plan);
}

static void a_key_of_an_unknown_tier_is_an_error(void)
{
    bad("[tiers]\nstarter = 60\n[keys]\n\"key-one\" = \"gold\"\n", 4,
        "gold");
    bad("[tiers]\nstarter = 60\n\n[keys]\n\"ok\" = \"starter\"\n"
        "\"key-big\" = { tier = \"gold\", limit = 5 }\n", 6, "gold");
}

static void a_value_of_the_wrong_type_is_an_error(void)
{
    bad("[tiers]\nstarter = \"sixty\"\n", 2, "starter");
    bad("[tiers]\nbasic = 120\nstarter = 60.5\n", 3, "starter");
    bad("[tiers]\nstarter = true\n", 2, "starter");
    bad("[tiers]\nstarter = [60]\n", 2, "starter");
    bad("[tiers]\nstarter = { limit = \"60\" }\n", 2, "limit");
    bad("[tiers]\nstarter = { limit = 60, window = true }\n", 2, "window");
    bad("[tiers]\na = 1\n[endpoints]\n\"/mave/chat\" = \"10\"\n", 4,
        "/mave/chat");
    bad("[tiers]\na = 1\n[keys]\n\"key-one\" = 60\n", 4, "key-one");
    bad("tiers = 60\n", 1, "tiers");
}

static void a_syntax_error_is_an_error_with_its_line(void)
{
    bad("[tiers]\nstarter = 60\nbasic 120\n", 3, NULL);
    bad("[tiers\nstarter = 60\n", 1, NULL);
    bad("[tiers]\nstarter =\n", 2, NULL);
    bad("[tiers]\nstarter = 60\nbasic = \"120\n", 3, NULL);
    bad("[tiers]\nstarter = 60 60\n", 2, NULL);
}

static void a_key_said_twice_is_an_error(void)
{
    bad("[tiers]\nstarter = 60\nstarter = 90\n", 3, "starter");
    bad("[tiers]\na = 1\n[keys]\n\"k-1\" = \"a\"\n\"k-1\" = \"a\"\n", 5,
        "k-1");
}

static void a_number_out_of_range_is_an_error(void)
{
    bad("[tiers]\nstarter = -5\n", 2, "starter");
    bad("[tiers]\nstarter = 0\n", 2, "starter");
    bad("[tiers]\nstarter = 8388609\n", 2, "starter");
    bad("[tiers]\nstarter = 4294967297\n", 2, "starter");
    bad("[tiers]\nbasic = 1\nstarter = { limit = 0 }\n", 3, "limit");
    bad("[tiers]\nstarter = { limit = -1 }\n", 2, "limit");
    bad("[tiers]\na = 1\n[endpoints]\n\"/mave/chat\" = -1\n", 4,
        "/mave/chat");
    bad("[tiers]\na = 1\n[keys]\n\"k-1\" = { tier = \"a\", limit = 0 }\n",
        4, "limit");
}

static void a_window_that_is_none_is_an_error(void)
{
    bad("window = 0\n[tiers]\na = 1\n", 1, "window");
    bad("window = -1\n[tiers]\na = 1\n", 1, "window");
    bad("window = \"0s\"\n[tiers]\na = 1\n", 1, "window");
    bad("window = \"\"\n[tiers]\na = 1\n", 1, "window");
    bad("window = \"s\"\n[tiers]\na = 1\n", 1, "window");
    bad("window = \"60 parsecs\"\n[tiers]\na = 1\n", 1, "window");
    bad("window = \"-60s\"\n[tiers]\na = 1\n", 1, "window");
    bad("window = \"99999999999h\"\n[tiers]\na = 1\n", 1, "window");
    bad("[tiers]\na = { limit = 1, window = \"1y\" }\n", 2, "window");
}

static void a_plan_without_what_it_needs_is_an_error(void)
{
    bad("[tiers]\nstarter = { window = \"60s\" }\n", 2, "starter");
    bad("[tiers]\na = 1\n[keys]\n\"k-1\" = { }\n", 4, "k-1");
    bad("[tiers]\n", 1, "tiers");
}

static void a_name_that_means_nothing_is_an_error(void)
{
    bad("[tiers]\na = 1\n[tierz]\nb = 2\n", 3, "tierz");
    bad("windw = \"60s\"\n[tiers]\na = 1\n", 1, "windw");
    bad("[tiers]\nstarter = { limit = 60, windw = \"2s\" }\n", 2, "windw");
    bad("[tiers]\na = 1\n[endpoints]\n\"mave/chat\" = 1\n", 4,
        "mave/chat");
}

static void a_part_that_is_missing_is_the_built_in_one(void)
{
    mavera_rl_plan      *plan = load("[keys]\n\"k-1\" = \"basic\"\n");
    mavera_rl_endpoint   endpoint;

    REQUIRE(plan != NULL);
    tier(plan, "starter", 60, MINUTE);
    tier(plan, "enterprise", 600, MINUTE);
    key(plan, "k-1", 120, MINUTE);
    memset(&endpoint, 0, sizeof(endpoint));
    endpoint.size = sizeof(endpoint);
    CHECK_INT(mavera_rl_plan_endpoint_at(plan, 2, &endpoint), 0);
    CHECK_INT(mavera_rl_plan_endpoint_at(plan, 3, &endpoint),
        MAVERA_RL_ENOENT);
    mavera_rl_plan_free(plan);
}

static void bytes_that_are_no_text_are_an_error(void)
{
    mavera_rl_plan *plan, *const none = (mavera_rl_plan *) &plan;
    int             rc;

    plan = none;
    rc = load_text("[tiers]\n\"\xFF\xFE\" = 60\n", &plan);
    CHECK_INT(rc, MAVERA_RL_EPLAN);
    CHECK(strstr(last_error(), "plan.toml") != NULL);
    CHECK(plan == none);
}

static void a_file_that_cannot_be_read_is_an_error_that_names_it(void)
{
    mavera_rl_plan *plan, *const none = (mavera_rl_plan *) &plan;

    plan = none;
    CHECK_INT(mavera_rl_plan_load(path_in(dir, "missing.toml"), &plan),
        MAVERA_RL_EPLAN);
    CHECK(strstr(last_error(), "missing.toml") != NULL);
    CHECK_INT(mavera_rl_plan_load(dir, &plan), MAVERA_RL_EPLAN);
    CHECK(strstr(last_error(), dir) != NULL);
    CHECK_INT(mavera_rl_plan_load("", &plan), MAVERA_RL_EPLAN);
    CHECK_INT(mavera_rl_plan_load(NULL, &plan), MAVERA_RL_EINVAL);
    CHECK(plan == none);
    write_file(path_in(dir, "plan.toml"), "[tiers]\na = 1\n", 14);
    CHECK_INT(mavera_rl_plan_load(path_in(dir, "plan.toml"), NULL),
        MAVERA_RL_EINVAL);
    CHECK_INT(unlink(path_in(dir, "plan.toml")), 0);
}

void run_plan_file(void);
void run_plan_file(void)
{
    make_directory(dir);
    RUN(a_plan_file_says_tiers_endpoints_and_keys);
    RUN(a_tier_change_reaches_the_keys_of_that_tier);
    RUN(windows_are_milliseconds_or_have_a_unit);
    RUN(the_longest_window_is_that_of_any_tier_or_key);
    RUN(line_endings_and_names_of_all_kinds_are_read);
    RUN(a_key_of_an_unknown_tier_is_an_error);
    RUN(a_value_of_the_wrong_type_is_an_error);
    RUN(a_syntax_error_is_an_error_with_its_line);
    RUN(a_key_said_twice_is_an_error);
    RUN(a_number_out_of_range_is_an_error);
    RUN(a_window_that_is_none_is_an_error);
    RUN(a_plan_without_what_it_needs_is_an_error);
    RUN(a_name_that_means_nothing_is_an_error);
    RUN(a_part_that_is_missing_is_the_built_in_one);
    RUN(bytes_that_are_no_text_are_an_error);
    RUN(a_file_that_cannot_be_read_is_an_error_that_names_it);
    remove_directory(dir);
}
