/* The C library's formatted output, as far as libblkid's probers use it: %% %c %s %d %u %x %X, a width filled with blanks or zeros, a
 * precision for %s, the lengths hh h l ll j z. The library's own is 9 KB of PID 1, floating point and wide characters included. */
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(char *out, size_t size, size_t *length, char character)
{
	if (*length + 1 < size)
		out[*length] = character;
	++*length;
}

static size_t number(const char **format)
{
	size_t value = 0;
	for (; **format >= '0' && **format <= '9'; ++*format)
		value = value * 10 + (size_t) (**format - '0');
	return value;
}

static unsigned long long argument(va_list *arguments, int longs)
{
	if (longs == 0)
		return va_arg(*arguments, unsigned);
	return longs == 1 ? va_arg(*arguments, unsigned long) : va_arg(*arguments, unsigned long long);
}

static size_t convert(const char **format, char *digits, const char **text, va_list *arguments)
{
	size_t most = SIZE_MAX, length = 0;
	unsigned base = 10;
	int longs = 0;
	unsigned long long value;
	if (**format == '.') {
		++*format;
		most = number(format);
	}
	for (; **format == 'h' || **format == 'l' || **format == 'j' || **format == 'z'; ++*format)
		longs += **format == 'l' || **format == 'z' ? 1 : **format == 'j' ? 2 : 0;
	switch (**format) {
	case 's':
		*text = va_arg(*arguments, const char *);
		return strnlen(*text, most);
	case 'c':
		digits[0] = (char) va_arg(*arguments, int);
		*text = digits;
		return 1;
	case 'd':
		value = argument(arguments, longs);
		/* None of what is formatted so is negative. */
		break;
	case 'x':
	case 'X':
		base = 16;
		/* fall through */
	case 'u':
		value = argument(arguments, longs);
		break;
	default:
		return SIZE_MAX;
	}
	do {
		unsigned digit = (unsigned) (value % base);
		digits[23 - length++] = (char) (digit < 10 ? '0' + digit : (**format == 'X' ? 'A' : 'a') + digit - 10);
		value /= base;
	} while (value);
	*text = digits + 24 - length;
	return length;
}

int vsnprintf(char *out, size_t size, const char *format, va_list original)
{
	size_t length = 0;
	va_list arguments;
	va_copy(arguments, original);
	for (; *format; format++) {
		char digits[24], fill = ' ';
		const char *text;
		size_t width, written;
		if (*format != '%' || *++format == '%') {
			put(out, size, &length, *format);
			continue;
		}
		if (*format == '0')
			fill = '0';
		width = number(&format);
		written = convert(&format, digits, &text, &arguments);
		if (written == SIZE_MAX || written > INT_MAX)
			break;
		for (; width > written; width--)
			put(out, size, &length, fill);
		for (; written; written--)
			put(out, size, &length, *text++);
	}
	va_end(arguments);
	if (size)
		out[length < size ? length : size - 1] = '\0';
	return *format ? -1 : (int) length;
}

int snprintf(char *out, size_t size, const char *format, ...)
{
	va_list arguments;
	int length;
	va_start(arguments, format);
	length = vsnprintf(out, size, format, arguments);
	va_end(arguments);
	return length;
}

int vasprintf(char **out, const char *format, va_list arguments)
{
	int length = vsnprintf(NULL, 0, format, arguments);
	*out = length < 0 ? NULL : malloc((size_t) length + 1);
	return *out ? vsnprintf(*out, (size_t) length + 1, format, arguments) : -1;
}
