/* Preloaded into redis-server: its wall clock is the machine's plus what the file says, 8 bytes in microseconds. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

static const volatile int64_t *ahead;

__attribute__((constructor)) static void map_file(void) {
  const char *name = getenv("TESTKIT_CLOCK");
  int file = name ? open(name, O_RDONLY) : -1;
  void *bytes = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
  if (bytes == MAP_FAILED) _exit(96);
  ahead = bytes;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
  long failed = syscall(SYS_gettimeofday, time, zone);
  if (!failed && time && ahead) {
    int64_t micros = time->tv_usec + *ahead % 1000000;
    time->tv_sec += *ahead / 1000000 + micros / 1000000;
    time->tv_usec = micros % 1000000;
  }
  return (int)failed;
}
