/* Runs a program to its end and says on standard error how much memory it held at most, in KiB, and how long it
   computed, in microseconds. Small and without a runtime, since what runs before `exec` counts as the program's own. */

#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct rusage used;
    int status;
    if (argc < 2)
        return 2;
    pid_t child = fork();
    if (child == 0) {
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &used) != child)
        return 126;
    fprintf(stderr, "peak %ld %ld\n", used.ru_maxrss,
            (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000L + used.ru_utime.tv_usec + used.ru_stime.tv_usec);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}
