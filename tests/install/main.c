/* A program that uses an installed library: is it the version it should be? */
#include <mavera_rl.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    const mavera_rl_policy policy = {sizeof policy, 1, 60000};
    mavera_rl *rl;

    if (argc < 2 || strcmp(mavera_rl_version(), argv[1]) != 0) {
        fprintf(stderr, "version %s\n", mavera_rl_version());
        return 1;
    }
    if (mavera_rl_open(NULL, NULL, &rl) != 0 ||
        mavera_rl_check(rl, "k", 1, &policy, 1, NULL) != MAVERA_RL_ALLOWED ||
        mavera_rl_check(rl, "k", 1, &policy, 1, NULL) != MAVERA_RL_LIMITED) {
        return 1;
    }
    mavera_rl_close(rl);
    return 0;
}
