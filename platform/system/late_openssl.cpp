// OpenSSL asks the processor for its abilities before main(). In a virtual machine each of these questions goes to the host,
// which takes a twentieth of an agent's life, and most agents do not use OpenSSL. OpenSSL asks a second time when it is
// initialised, so the first call does nothing here. (The linker's option --wrap leads both calls to this function.)
extern "C" void __real_OPENSSL_cpuid_setup();

extern "C" void __wrap_OPENSSL_cpuid_setup() {
  static bool started = false;
  if (started) __real_OPENSSL_cpuid_setup();
  started = true;
}
