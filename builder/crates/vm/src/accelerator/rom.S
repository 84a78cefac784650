# The firmware of the guest that tries a processor: protected mode, cpuid, paging, long mode where there is one, and an interrupt of
# the timer's that wakes the processor from hlt. Then it says its word. The ROM is 64 KiB at 0xf0000, its code in the last 1024 bytes.
	.set BASE, 0xffc00
	.set PAGES, 0x8000
	.set IDT, 0xc000
	.code16
start:	cli
	lgdtl	%cs:(gdtr - start + 0xfc00)
	mov	%cr0, %eax
	or	$1, %al
	mov	%eax, %cr0
	ljmpl	$8, $(BASE + protected - start)

	.code32
protected:
	mov	$16, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	mov	$0x7000, %esp
	# Tables in memory that is empty.
	cld
	xor	%eax, %eax
	mov	$PAGES, %edi
	mov	$0x1400, %ecx
	rep stosl
	# What a kernel asks first: the maker, the features, and those of AMD's leaves.
	xor	%eax, %eax
	cpuid
	mov	$1, %eax
	cpuid
	xor	%esi, %esi
	mov	$0x80000000, %eax
	cpuid
	cmp	$0x80000001, %eax
	jb	1f
	mov	$0x80000001, %eax
	cpuid
	mov	%edx, %esi
	and	$(1 << 29), %esi
	# The first controller's lines from vector 0x20 on, all but the timer masked; the timer a thousand times a second.
1:	mov	$0x11, %al
	out	%al, $0x20
	mov	$0x20, %al
	out	%al, $0x21
	mov	$4, %al
	out	%al, $0x21
	mov	$1, %al
	out	%al, $0x21
	mov	$0xfe, %al
	out	%al, $0x21
	mov	$0x34, %al
	out	%al, $0x43
	mov	$0xa9, %al
	out	%al, $0x40
	mov	$4, %al
	out	%al, $0x40
	# The processor's own controller lets them through, as firmware sets it (Intel's manual, volume 3, 11.5.1).
	movl	$0x1ff, 0xfee000f0
	movl	$0x700, 0xfee00350
	xor	%ebx, %ebx
	test	%esi, %esi
	jnz	long_mode

	# Paging with pages of 4 MiB, and a gate of 8 bytes.
	movl	$0x83, PAGES
	mov	%cr4, %eax
	or	$0x10, %al
	mov	%eax, %cr4
	mov	$PAGES, %eax
	mov	%eax, %cr3
	mov	%cr0, %eax
	or	$0x80000000, %eax
	mov	%eax, %cr0
	movl	$(0x80000 + ((BASE + tick32 - start) & 0xffff)), IDT + 0x20 * 8
	movl	$(0xf0000 + 0x8e00), IDT + 0x20 * 8 + 4
	lidt	BASE + idtr - start
2:	sti
	hlt
	cli
	test	%ebx, %ebx
	jz	2b
	jmp	word

tick32:	inc	%ebx
	mov	$0x20, %al
	out	%al, $0x20
	iret

long_mode:
	# Paging with one page of 2 MiB, and a gate of 16 bytes.
	movl	$(PAGES + 0x1003), PAGES
	movl	$(PAGES + 0x2003), PAGES + 0x1000
	movl	$0x83, PAGES + 0x2000
	mov	%cr4, %eax
	or	$0x20, %al
	mov	%eax, %cr4
	mov	$PAGES, %eax
	mov	%eax, %cr3
	mov	$0xc0000080, %ecx
	rdmsr
	or	$0x100, %eax
	wrmsr
	mov	%cr0, %eax
	or	$0x80000000, %eax
	mov	%eax, %cr0
	movl	$(0x180000 + ((BASE + tick64 - start) & 0xffff)), IDT + 0x20 * 16
	movl	$(0xf0000 + 0x8e00), IDT + 0x20 * 16 + 4
	ljmp	$24, $(BASE + wide - start)

	.code64
wide:	lidt	BASE + idtr - start
3:	sti
	hlt
	cli
	test	%ebx, %ebx
	jz	3b
	jmp	word

tick64:	inc	%ebx
	mov	$0x20, %al
	out	%al, $0x20
	iretq

	# The same bytes in both modes.
word:	mov	$0x15, %al
	out	%al, $0xf4
4:	hlt
	jmp	4b

	.balign	8
gdt:	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
	.quad	0x00af9b000000ffff
gdtr:	.word	gdtr - gdt - 1
	.long	BASE + gdt - start
	.balign	8
idtr:	.word	0xfff
	.quad	IDT

	# The processor begins 16 bytes below the end (Intel's manual, volume 3, 9.1.4).
	.code16
	.org	0x3f0, 0
	jmp	start
	.org	0x400, 0
