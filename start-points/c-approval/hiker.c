#include <stdio.h>

int main(void)
{
    for (int bottles = 3; bottles > 0; bottles--)
        printf("%d bottles hanging on the wall\n", bottles);
    return 0;
}
