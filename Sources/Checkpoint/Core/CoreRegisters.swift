import MigrationStream

/// The general registers of one vCPU, in the order of Linux's `user_regs_struct` for x86-64: what debuggers expect in a core file.
struct CoreRegisters: Equatable {
  static let names = [
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi", "orig_rax",
    "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
  ]

  let vcpu: UInt32
  /// One for each of the names.
  let words: [UInt64]

  /// The note that shows the vCPU as a thread: `elf_prstatus` of 336 bytes, the vCPU's number plus one as its id.
  var note: [UInt8] {
    var status = [UInt8](repeating: 0, count: 32)
    status.append(little: vcpu + 1)
    status.append(contentsOf: repeatElement(0, count: 112 - status.count))
    for word in words { status.append(little: word) }
    status.append(contentsOf: repeatElement(0, count: 336 - status.count))
    return ELF.note("CORE", type: 1, status)
  }
}

extension CoreRegisters {
  /// - Parameter context: a `vcpu_guest_context_x86_64` (Xen's public/arch-x86/xen.h, 5168 bytes).
  init?(pv context: [UInt8], vcpu: UInt32) {
    // cpu_user_regs lies behind 512 bytes of FPU state and a word of flags; its first fifteen registers are in Linux's order.
    let (flags, registers) = (512, 520)
    var words: [UInt64] = []
    for number in 0..<15 { words.append(context.little(at: registers + number * 8) ?? 0) }
    words.append(.max)  // not in a system call
    func word(_ offset: Int) -> UInt64 { context.little(at: offset) ?? 0 }
    func selector(_ offset: Int) -> UInt64 { UInt64(context.little(at: offset, as: UInt16.self) ?? 0) }
    let inKernel = word(flags) & 4 != 0  // VGCF_in_kernel
    words += [word(648), selector(656), word(664), word(672), selector(680)]
    words += [word(5144), inKernel ? word(5152) : word(5160)]
    words += [selector(696), selector(688), selector(704), selector(712)]
    guard context.count >= 5168 else { return nil }
    self.init(vcpu: vcpu, words: words)
  }

  /// The vCPUs of a PVH guest, out of Xen's HVM save records (public/hvm/save.h, public/arch-x86/hvm/save.h).
  static func all(hvmContext bytes: [UInt8]) -> [CoreRegisters] {
    let (cpuRecord, endRecord, headBytes, cpuBytes): (UInt16, UInt16, Int, Int) = (2, 0, 8, 856)
    var result: [CoreRegisters] = []
    var offset = 0
    while let type = bytes.little(at: offset, as: UInt16.self), type != endRecord,
      let instance = bytes.little(at: offset + 2, as: UInt16.self),
      let length = bytes.little(at: offset + 4, as: UInt32.self)
    {
      let start = offset + headBytes
      guard Int(length) <= bytes.count - start else { return result }
      if type == cpuRecord, Int(length) >= cpuBytes {
        result.append(CoreRegisters(hvm: Array(bytes[start..<(start + Int(length))]), vcpu: UInt32(instance)))
      }
      offset = start + Int(length)
    }
    return result
  }

  /// - Parameter cpu: a `hvm_hw_cpu`, whose registers follow 512 bytes of FPU state.
  private init(hvm cpu: [UInt8], vcpu: UInt32) {
    func word(_ offset: Int) -> UInt64 { cpu.little(at: offset) ?? 0 }
    func selector(_ offset: Int) -> UInt64 { UInt64(cpu.little(at: offset, as: UInt32.self) ?? 0) }
    // There: rax rbx rcx rdx rbp rsi rdi rsp r8 … r15 rip rflags.
    let (rax, rbx, rcx, rdx, rbp, rsi, rdi, rsp) = (512, 520, 528, 536, 544, 552, 560, 568)
    let extended = (0..<8).map { word(576 + $0 * 8) }  // r8 … r15
    var words = [extended[7], extended[6], extended[5], extended[4], word(rbp), word(rbx)]
    words += [
      extended[3], extended[2], extended[1], extended[0], word(rax), word(rcx), word(rdx), word(rsi), word(rdi),
    ]
    words.append(.max)  // not in a system call
    words += [word(640), selector(736), word(648), word(rsp), selector(756), word(832), word(840)]
    words += [selector(740), selector(744), selector(748), selector(752)]
    self.init(vcpu: vcpu, words: words)
  }
}
