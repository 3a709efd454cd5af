/* Ctrl-C during a step: while a word is watched, SIGINT sets it, then goes on to the handler that was there before. */
#include "edgeq.h"

#ifdef _WIN32
int32_t eq_interrupt_watch(int32_t *word) { (void)word; return 0; }
void eq_interrupt_release(void) {}
#else
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

static struct sigaction before;
static _Atomic(int32_t *) watched;

static void on_interrupt(int number, siginfo_t *info, void *context) {
    int32_t *word = atomic_load(&watched);
    if (word) *(volatile int32_t *)word = 1;
    if (before.sa_flags & SA_SIGINFO) before.sa_sigaction(number, info, context);
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) before.sa_handler(number);
}

int32_t eq_interrupt_watch(int32_t *word) {
    struct sigaction now, ours;
    if (atomic_load(&watched) || sigaction(SIGINT, NULL, &now) != 0) return 0;
    if (!(now.sa_flags & SA_SIGINFO) && (now.sa_handler == SIG_DFL || now.sa_handler == SIG_IGN)) return 0;
    before = now;
    atomic_store(&watched, word);
    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = on_interrupt;
    ours.sa_flags = SA_SIGINFO | (now.sa_flags & (SA_ONSTACK | SA_RESTART));
    ours.sa_mask = now.sa_mask;
    if (sigaction(SIGINT, &ours, NULL) == 0) return 1;
    atomic_store(&watched, NULL);
    return 0;
}

void eq_interrupt_release(void) {
    if (!atomic_load(&watched)) return;
    sigaction(SIGINT, &before, NULL);
    atomic_store(&watched, NULL);
}
#endif
