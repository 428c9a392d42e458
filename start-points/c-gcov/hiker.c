#include "hiker.h"

int answer(int asked)
{
    if (asked)
        return 6 * 9;
    return 0;
}
