/* File mappings under guard: when a page of a mapped model is gone (the file shrank), the fault puts a zero page in its
 * place and marks the mapping; a step then says so instead of ending the process. Faults elsewhere go to whoever had
 * the signal before. */
#include "guard.h"

#ifdef _WIN32
int32_t eq_guard_add(const void *start, int64_t nbytes) { (void)start, (void)nbytes; return -1; }
void eq_guard_remove(int32_t slot) { (void)slot; }
int32_t eq_guard_hit(int32_t slot) { (void)slot; return 0; }
int32_t eq_guard_hit_at(const void *address) { (void)address; return 0; }
#else
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOTS 256

typedef struct {
    atomic_uintptr_t start, end; /* end 0: the slot is free */
    atomic_int hit;
} guard;

static guard guards[SLOTS];
static atomic_int taken[SLOTS];
static struct sigaction before;
static atomic_int installed, any_hit;
static uintptr_t page_size;

static void on_fault(int number, siginfo_t *info, void *context) {
    uintptr_t at = (uintptr_t)info->si_addr;
    for (int i = 0; i < SLOTS; i++) {
        uintptr_t end = atomic_load(&guards[i].end);
        if (end == 0 || at < atomic_load(&guards[i].start) || at >= end) continue;
        void *page = (void *)(at & ~(page_size - 1));
        if (mmap(page, page_size, PROT_READ, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) break;
        atomic_store(&guards[i].hit, 1);
        atomic_store(&any_hit, 1);
        return;
    }
    if (before.sa_flags & SA_SIGINFO && before.sa_sigaction) {
        before.sa_sigaction(number, info, context);
    } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN && before.sa_handler) {
        before.sa_handler(number);
    } else { /* the default action, on return to the faulting instruction */
        struct sigaction restored;
        memset(&restored, 0, sizeof restored);
        restored.sa_handler = SIG_DFL;
        sigaction(number, &restored, NULL);
    }
}

int32_t eq_guard_add(const void *start, int64_t nbytes) {
    if (!atomic_exchange(&installed, 1)) {
        page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
        struct sigaction ours;
        memset(&ours, 0, sizeof ours);
        ours.sa_sigaction = on_fault;
        ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        sigemptyset(&ours.sa_mask);
        if (sigaction(SIGBUS, &ours, &before) != 0) {
            atomic_store(&installed, 0);
            return -1;
        }
    }
    for (int32_t i = 0; i < SLOTS; i++) {
        if (atomic_exchange(&taken[i], 1)) continue;
        atomic_store(&guards[i].hit, 0);
        atomic_store(&guards[i].start, (uintptr_t)start);
        atomic_store(&guards[i].end, (uintptr_t)start + (uintptr_t)nbytes);
        return i;
    }
    return -1;
}

void eq_guard_remove(int32_t slot) {
    if (slot < 0 || slot >= SLOTS) return;
    atomic_store(&guards[slot].end, 0);
    atomic_store(&taken[slot], 0);
}

int32_t eq_guard_hit_at(const void *address) {
    uintptr_t at = (uintptr_t)address;
    for (int i = 0; atomic_load(&any_hit) && i < SLOTS; i++)
        if (at >= atomic_load(&guards[i].start) && at < atomic_load(&guards[i].end) && atomic_load(&guards[i].hit)) return 1;
    return 0;
}

int32_t eq_guard_hit(int32_t slot) { return slot >= 0 && slot < SLOTS ? atomic_load(&guards[slot].hit) : 0; }
#endif
