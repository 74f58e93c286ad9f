#include <ballast.h>
#include <stdio.h>
int main(void) {
  return puts(ballast_version()) < 0;
}
