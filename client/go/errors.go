package pixembed

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Reason says in a word that never changes what went wrong. It is an error, so that
//
//	errors.Is(err, pixembed.ReasonTruncatedImage)
//
// finds it in whatever this package returns.
type Reason string

// What one image can fail with.
const (
	ReasonEmptyImage        Reason = "EMPTY_IMAGE"
	ReasonUnsupportedFormat Reason = "UNSUPPORTED_FORMAT"
	ReasonTruncatedImage    Reason = "TRUNCATED_IMAGE"
	ReasonCorruptImage      Reason = "CORRUPT_IMAGE"
	ReasonTooManyBytes      Reason = "TOO_MANY_BYTES"
	ReasonTooManyPixels     Reason = "TOO_MANY_PIXELS"
	ReasonMessageTooLarge   Reason = "MESSAGE_TOO_LARGE"
	ReasonOutOfMemory       Reason = "OUT_OF_MEMORY"
	ReasonDeviceFailure     Reason = "DEVICE_FAILURE"
	ReasonNonFiniteVector   Reason = "NON_FINITE_VECTOR"
	// The image's own source gave an error instead of bytes; never from a server.
	ReasonUnreadableImage Reason = "UNREADABLE_FILE"
)

// What a call can fail with as a whole.
const (
	ReasonMalformedRequest    Reason = "MALFORMED_REQUEST"
	ReasonEmptyRequest        Reason = "EMPTY_REQUEST"
	ReasonTooManyImages       Reason = "TOO_MANY_IMAGES"
	ReasonUnknownModel        Reason = "UNKNOWN_MODEL"
	ReasonInvalidOption       Reason = "INVALID_OPTION"
	ReasonFingerprintMismatch Reason = "FINGERPRINT_MISMATCH"
	ReasonInvalidToken        Reason = "INVALID_TOKEN"
	ReasonOverloaded          Reason = "OVERLOADED"
	ReasonDraining            Reason = "DRAINING"
	ReasonDeadlineTooShort    Reason = "DEADLINE_TOO_SHORT"
	ReasonDeadlineExceeded    Reason = "DEADLINE_EXCEEDED"
	ReasonCancelled           Reason = "CANCELLED"
)

func (r Reason) Error() string { return string(r) }

// ImageError says why one image has no vector. errors.Is finds its Reason and, where the image could
// not be read in the first place, what its source said.
type ImageError struct {
	Code codes.Code
	// Empty if unknown.
	Reason  Reason
	Message string
	cause   error
}

// Error gives the reason, or else the code, and the message.
func (e *ImageError) Error() string { return describe(e.Code, e.Reason, e.Message) }

// Is finds a Reason.
func (e *ImageError) Is(target error) bool { return isReason(e.Reason, target) }

// Unwrap gives what the image's source said.
func (e *ImageError) Unwrap() error { return e.cause }

// GRPCStatus lets status.Code and status.Convert understand the error.
func (e *ImageError) GRPCStatus() *status.Status { return status.New(e.Code, e.Error()) }

// BatchError says which images of a batch have no vector.
type BatchError struct {
	// As long as the batch; nil where there is a vector.
	Errors []error
}

// Error counts the images that failed and gives the first one's reason.
func (e *BatchError) Error() string {
	count, first := 0, -1
	for i, err := range e.Errors {
		if err == nil {
			continue
		}
		if count++; first < 0 {
			first = i
		}
	}
	switch count {
	case 0:
		return "no image failed"
	case 1:
		return fmt.Sprintf("image %d: %v", first, e.Errors[first])
	default:
		return fmt.Sprintf("%d images failed; image %d: %v", count, first, e.Errors[first])
	}
}

// Unwrap gives the errors that are not nil.
func (e *BatchError) Unwrap() []error {
	var failed []error
	for _, err := range e.Errors {
		if err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

// ServiceError says why a call failed as a whole. errors.Is finds its Reason, and context.Canceled and
// context.DeadlineExceeded where its code says so.
type ServiceError struct {
	Code codes.Code
	// Empty if unknown.
	Reason  Reason
	Message string
	// Whether the server said when to try again, and when.
	Retryable  bool
	RetryDelay time.Duration
}

// Error gives the reason, or else the code, and the message.
func (e *ServiceError) Error() string { return describe(e.Code, e.Reason, e.Message) }

// Is finds a Reason and the errors of context.
func (e *ServiceError) Is(target error) bool {
	switch target {
	case context.Canceled:
		return e.Code == codes.Canceled
	case context.DeadlineExceeded:
		return e.Code == codes.DeadlineExceeded
	default:
		return isReason(e.Reason, target)
	}
}

// GRPCStatus lets status.Code and status.Convert understand the error.
func (e *ServiceError) GRPCStatus() *status.Status { return status.New(e.Code, e.Error()) }

func isReason(reason Reason, target error) bool {
	wanted, ok := target.(Reason)
	return ok && wanted == reason
}

// describe gives "TRUNCATED_IMAGE: the data ends ...", or the code where there is no reason.
func describe(code codes.Code, reason Reason, message string) string {
	head := string(reason)
	if head == "" {
		head = code.String()
	}
	return strings.TrimSuffix(head+": "+message, ": ")
}

// reasonOf is the reason among the details of a status.
func reasonOf(s *rpcstatus.Status) Reason {
	for _, detail := range s.GetDetails() {
		var info errdetails.ErrorInfo
		if detail.MessageIs(&info) && detail.UnmarshalTo(&info) == nil {
			return Reason(info.GetReason())
		}
	}
	return ""
}

func imageError(s *rpcstatus.Status) *ImageError {
	return &ImageError{Code: codes.Code(s.GetCode()), Reason: reasonOf(s), Message: s.GetMessage()}
}

// noAddresses is what gRPC says of a name that DNS does not know.
const noAddresses = "no children to pick from"

// serviceError is what a stub returned, which is not nil.
func serviceError(err error) *ServiceError {
	s := status.Convert(err).Proto()
	result := &ServiceError{Code: codes.Code(s.GetCode()), Reason: reasonOf(s), Message: s.GetMessage()}
	for _, detail := range s.GetDetails() {
		var retry errdetails.RetryInfo
		if detail.MessageIs(&retry) && detail.UnmarshalTo(&retry) == nil {
			result.Retryable, result.RetryDelay = true, retry.GetRetryDelay().AsDuration()
		}
	}
	if result.Message == noAddresses {
		result.Message = "the name in the target has no address (gRPC: " + noAddresses + ")"
	}
	return result
}

// contextError is the end of a context, as a call would tell it.
func contextError(ctx context.Context) *ServiceError {
	return serviceError(status.FromContextError(ctx.Err()).Err())
}

func invalid(format string, arguments ...any) *ServiceError {
	return &ServiceError{
		Code: codes.InvalidArgument, Reason: ReasonInvalidOption, Message: fmt.Sprintf(format, arguments...),
	}
}

func nonsense(format string, arguments ...any) *ServiceError {
	return &ServiceError{Code: codes.DataLoss, Message: fmt.Sprintf(format, arguments...)}
}

// unreadable is the error of an image that its source could not give.
func unreadable(cause error) *ImageError {
	return &ImageError{
		Code: codes.NotFound, Reason: ReasonUnreadableImage, Message: cause.Error(), cause: cause,
	}
}

// tooLarge is the error of an image that no message of the client may hold.
func tooLarge(bytes, limit int) *ImageError {
	return &ImageError{
		Code: codes.InvalidArgument, Reason: ReasonTooManyBytes,
		Message: fmt.Sprintf("the image makes a message of %d bytes; the client's limit (WithMaxMessageBytes) is %d",
			bytes, limit),
	}
}
