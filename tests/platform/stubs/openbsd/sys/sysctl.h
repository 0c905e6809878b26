// Of OpenBSD's <sys/sysctl.h>, what platform/system/openbsd.cpp asks for.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define CTL_KERN 1
#define KERN_PROC 66
#define KERN_PROC_PID 1

struct kinfo_proc {
  int32_t p_pid;
  int32_t p_ppid;
  char p_comm[24];
  uint64_t p_ustart_sec;
  uint32_t p_ustart_usec;
};

extern "C" int sysctl(const int* name, unsigned count, void* old, size_t* old_size, void* fresh, size_t fresh_size);
