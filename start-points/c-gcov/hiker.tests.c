#include "hiker.h"
#include <assert.h>
#include <signal.h>
#include <stdio.h>

void __gcov_dump(void); /* of the compiler's own library */

/* A failed assertion aborts, and what ran until then is to be counted all the same. */
static void keep_coverage(int signal_number)
{
    (void)signal_number;
    __gcov_dump();
}

static void life_the_universe_and_everything(void)
{
    assert(answer(1) == 42);
}

int main(void)
{
    signal(SIGABRT, keep_coverage);
    life_the_universe_and_everything();
    puts("All tests passed");
    return 0;
}
